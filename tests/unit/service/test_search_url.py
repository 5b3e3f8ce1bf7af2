"""Searching with a picture by its URL, and what the service says when it may or can not."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.intake.remote_pictures import PictureFetcher
from service.intake.url_rules import UrlRules
from tests.unit.service.conftest import ClientOf, MakeApp, encoded
from tests.unit.service.hostile_server import HostileServer, answer, hostile_server, redirect
from tests.unit.service.test_bad_input import huge_png
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio

NAME = "pictures.test"
PICTURE = encoded(made_up_picture(3))


async def loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
async def pictures() -> AsyncIterator[HostileServer]:
    scripts = {
        "/good": answer(PICTURE),
        "/page": answer(b"<html>"),
        "/half": answer(PICTURE[: len(PICTURE) // 2]),
        "/wide": answer(huge_png(60_000, 60_000)),
        "/long": answer(PICTURE + bytes(100_000)),
        "/none": answer(b"", status="404 Not Found"),
        "/inside": redirect("http://169.254.169.254/latest/meta-data/"),
    }
    async with hostile_server(scripts) as server:
        yield server


@pytest.fixture
async def client(
    app: FastAPI, connect: ClientOf, pictures: HostileServer
) -> AsyncIterator[httpx.AsyncClient]:
    """Of a service to which the test's server is the public internet."""
    fetcher = PictureFetcher(
        UrlRules([f"http://{NAME}:{pictures.port}"]),
        max_bytes=90_000,
        timeout_ms=5_000,
        may_connect=lambda address: address == "127.0.0.1",
        resolve=loopback,
    )
    served = app.state.served
    app.state.served = replace(served, fetcher=fetcher)
    async with connect(app) as client:
        yield client
    app.state.served = served


def asked(pictures: HostileServer, path: str) -> dict[str, Any]:
    return {"image": {"url": f"http://{NAME}:{pictures.port}{path}"}, "limit": 5}


async def test_a_picture_by_url_finds_what_its_bytes_find(
    client: httpx.AsyncClient, pictures: HostileServer
) -> None:
    by_url = (await client.post("/search/image", json=asked(pictures, "/good"))).json()
    files = {"file": ("a.png", PICTURE)}
    uploaded = await client.post("/search/image", files=files, data={"params": '{"limit": 5}'})
    assert by_url["results"] == uploaded.json()["results"]
    assert len(by_url["results"][0]["hits"]) == 5


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/page", 400, "unreadable_image"),
        ("/half", 400, "unreadable_image"),
        ("/wide", 413, "too_many_pixels"),
        ("/long", 413, "body_too_large"),
        ("/none", 422, "url_unreachable"),
        ("/inside", 422, "url_not_allowed"),
    ],
)
async def test_what_is_wrong_is_told_at_its_place(
    client: httpx.AsyncClient, pictures: HostileServer, path: str, status: int, code: str
) -> None:
    refusal = await client.post("/search/image", json=asked(pictures, path))
    problem = refusal.json()
    assert (refusal.status_code, problem["code"]) == (status, code)
    assert [(one["where"], one["code"]) for one in problem["errors"]] == [("image.url", code)]
    assert "Traceback" not in refusal.text and "127.0.0.1" not in refusal.text


async def test_by_default_no_url_is_fetched(
    app: FastAPI, connect: ClientOf, pictures: HostileServer
) -> None:
    async with connect(app) as client:
        refusal = await client.post("/search/image", json=asked(pictures, "/good"))
    assert (refusal.status_code, refusal.json()["code"]) == (422, "url_not_allowed")
    assert "fetches no pictures" in refusal.json()["detail"]
    assert pictures.requests == []


async def test_a_list_that_names_loopback_does_not_open_it(
    make_app: MakeApp, connect: ClientOf, pictures: HostileServer
) -> None:
    hosts = (f"http://127.0.0.1:{pictures.port}", f"http://localhost:{pictures.port}", "http://*")
    async with connect(make_app(url_hosts=hosts)) as client:
        for host in ("127.0.0.1", "localhost"):
            url = f"http://{host}:{pictures.port}/good"
            refusal = await client.post("/search/image", json={"image": {"url": url}})
            assert (refusal.status_code, refusal.json()["code"]) == (422, "url_not_allowed")
            assert "not on the public internet" in refusal.json()["detail"]
    assert pictures.requests == []
