import re
from typing import Any

import httpx
import pytest

from tests.unit.service.conftest import ClientOf, MakeApp
from tests.unit.service.test_bad_input import check_problem

pytestmark = pytest.mark.anyio
SEARCHES = ("/search/text", "/search/image")


async def full(make_app: MakeApp, connect: ClientOf) -> Any:
    app = make_app(max_waiting_items=32)
    app.state.served.admission.waiting_items = 32
    return connect(app)


async def counted(client: httpx.AsyncClient, route: str) -> float:
    line = f'hrem_requests_total{{method="POST",route="{route}",status="503"}}'
    found = re.search(rf"^{re.escape(line)} (\S+)$", (await client.get("/metrics")).text, re.M)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("path", SEARCHES)
async def test_a_full_queue_is_told_before_anything_of_the_body_is_read(
    make_app: MakeApp, connect: ClientOf, path: str
) -> None:
    read = []

    async def body() -> Any:
        read.append(1)
        yield b"not even JSON"

    async with await full(make_app, connect) as client:
        answer = await client.post(path, content=body(), headers={"content-type": "text/odd"})
        check_problem(answer, 503, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
        assert "content-security-policy" in answer.headers
        assert await counted(client, path) == 1
    assert read == []


async def test_all_but_searches_pass_though_the_queue_is_full(
    make_app: MakeApp, connect: ClientOf
) -> None:
    async with await full(make_app, connect) as client:
        assert (await client.get("/info")).status_code == 200
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/search/text")).status_code == 405
        check_problem(await client.post("/search/nothing", json={}), 404, "not_found")


async def test_a_service_that_stops_says_so_before_the_body_is_read(
    make_app: MakeApp, connect: ClientOf
) -> None:
    app = make_app()
    app.state.served.admission.close()
    async with connect(app) as client:
        answer = await client.post("/search/text", json={"query": "red"})
        check_problem(answer, 503, "overloaded")
        assert "stopping" in answer.json()["detail"]
