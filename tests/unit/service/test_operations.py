import json
import logging
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from index_builder.galleries.gallery import Gallery
from index_builder.index_folder.versions import OpenIndex
from service.openapi import openapi_document
from service.problems import PROBLEMS
from tests.unit.service.conftest import ClientOf, MakeApp, encoded
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio
REPOSITORY = Path(__file__).parents[3]


async def test_info_tells_what_is_served(client: httpx.AsyncClient, opened: OpenIndex) -> None:
    fingerprint = opened.checkpoint_fingerprint
    gallery = {"kind": "exact", "recall_at_10": 1.0}
    facet = {"minimum": None, "maximum": None, "values": None}
    assert (await client.get("/info")).json() == {
        "index": {"version": 1, "checkpoint": fingerprint[:16]},
        "galleries": {
            "images": {"count": 12, **gallery, "columns": [], "facets": {}},
            "captions": {
                "count": 60,
                **gallery,
                "columns": ["split", "number"],
                "facets": {
                    "split": {**facet, "type": "text", "values": ["dev", "test", "train"]},
                    "number": {**facet, "type": "integer", "minimum": 0, "maximum": 11},
                },
            },
        },
        "dim": 16,
        "encoder": "HREM resnet + bigru, 16-d",
    }


async def test_columns_are_looked_through_once_however_often_somebody_asks(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_through = []
    real = Gallery.column_summaries

    def counted(self: Gallery, **how: Any) -> Any:
        looked_through.append(self.kind)
        return real(self, **how)

    monkeypatch.setattr(Gallery, "column_summaries", counted)
    async with connect(make_app()) as client:
        first, second = [(await client.get("/info")).json() for _ in range(2)]
    assert first == second
    assert looked_through == ["images", "captions"]


async def test_a_healthy_service_is_live_and_ready(client: httpx.AsyncClient) -> None:
    for name in ("live", "ready"):
        answer = await client.get(f"/health/{name}")
        assert (answer.status_code, answer.json()) == (200, {"status": name})


async def test_metrics_count_queries_stages_and_problems(client: httpx.AsyncClient) -> None:
    async def value(line: str) -> float:
        text = (await client.get("/metrics")).text
        found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    lines = (
        'hrem_queries_total{kind="text"}',
        'hrem_stage_seconds_count{stage="encode"}',
        'hrem_problems_total{code="invalid_request"}',
        'hrem_requests_total{method="POST",route="/search/text",status="200"}',
    )
    before = [await value(line) for line in lines]
    await client.post("/search/text", json={"query": ["red", "blue"]})
    await client.post("/search/text", json={"query": " "})
    after = [await value(line) for line in lines]
    assert [late - early for early, late in zip(before, after, strict=True)] == [2, 1, 1, 1]
    assert await value('hrem_items{gallery="captions"}') == 60
    assert await value("hrem_waiting_items") == 0


async def test_unknown_addresses_make_no_metrics_of_their_own(client: httpx.AsyncClient) -> None:
    await client.get("/some/odd/address")
    assert "odd" not in (await client.get("/metrics")).text


async def test_the_openapi_document_is_the_committed_one(client: httpx.AsyncClient) -> None:
    served = (await client.get("/openapi.json")).json()
    committed = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
    assert served == committed, "write it again with: make openapi"


def test_every_address_but_the_pages_is_documented_with_its_problems(app: FastAPI) -> None:
    document = openapi_document()
    assert set(document["paths"]) == {
        "/search", "/search/text", "/search/image", "/embed/text", "/embed/image",
        "/images/{id}", "/images/{id}/thumbnail",
        "/items/{gallery}/{id}", "/info", "/health/live", "/health/ready", "/metrics",
        "/openapi.json", "/admin/reload", "/session",
    }  # fmt: skip
    names = re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))
    assert set(names) <= set(document["components"]["schemas"])
    for path in ("/search/text", "/search/image"):
        operation = document["paths"][path]["post"]
        assert {"200", "404", "409", "413", "415", "422", "503", "504"} <= set(
            operation["responses"]
        )
        assert operation["requestBody"]["content"]["application/json"]["examples"]


async def test_the_examples_of_the_document_are_valid_requests(client: httpx.AsyncClient) -> None:
    paths = openapi_document()["paths"]
    for path in ("/search/text", "/search/image"):
        examples = paths[path]["post"]["requestBody"]["content"]["application/json"]["examples"]
        for example in examples.values():
            answer = await client.post(path, json=example["value"])
            # The id of the example is of another index.
            assert answer.status_code == (404 if "id" in example["value"].get("image", {}) else 200)


@pytest.mark.parametrize("path", ["/", "/docs"])
async def test_pages_are_whole_documents_of_our_own_files(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.text.lower().startswith("<!doctype html>")
    assert "</html>" in answer.text
    addresses = re.findall(r'(?:src|href)="([^"#]+)', answer.text)
    assert addresses
    for address in addresses:
        assert "//" not in address
        target = await client.get(httpx.URL("http://localhost" + path).join(address))
        assert target.status_code == 200, address
        if address.startswith(("page/", "docs/")):
            assert target.headers["cache-control"] == "no-cache"
            seen = {"if-none-match": target.headers["etag"]}
            assert (await client.get(target.url, headers=seen)).status_code == 304


async def test_every_answer_carries_the_safety_headers(client: httpx.AsyncClient) -> None:
    for path in ("/", "/docs", "/info", "/nothing", "/page/style.css", "/health/live"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers


async def test_a_plain_request_id_is_kept_and_any_other_replaced(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/info", headers={"x-request-id": "order-66.a"})
    assert answer.headers["x-request-id"] == "order-66.a"
    for odd in ("a b", "x" * 65, '"}{'):
        answer = await client.get("/info", headers={"x-request-id": odd})
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_the_access_log_tells_no_query(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    picture = {"file": ("holiday.png", encoded(made_up_picture(0)))}
    with caplog.at_level(logging.DEBUG):
        await client.post("/search/text?q=privately", json={"query": "a confidential circle"})
        await client.post("/search/image", files=picture)
    lines = [record.fields for record in caplog.records if record.name == "service.access"]
    assert [line["route"] for line in lines] == ["/search/text", "/search/image"]
    assert set(lines[0]) == {
        "request_id", "method", "route", "status", "code", "duration_ms", "client",
        "key",
    }  # fmt: skip
    ours = [record for record in caplog.records if record.name.startswith(("service", "uvicorn"))]
    everything = repr([vars(record) for record in ours])
    for secret in ("confidential", "privately", "holiday"):
        assert secret not in everything


def test_every_problem_code_is_in_the_api_notes() -> None:
    notes = (REPOSITORY / "docs" / "api.md").read_text()
    assert [code for code in PROBLEMS if f"`{code}`" not in notes] == []
