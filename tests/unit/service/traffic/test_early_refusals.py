"""What there is no room for is refused before it is parsed, and nobody can tell the difference."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from service.observing.metrics import Metrics
from service.traffic.admission import Admission
from service.traffic.connections import ConnectionBounds, bounded_protocol
from service.traffic.early_refusals import EarlyRefusals
from tests.unit.service.conftest import MakeApp
from tests.unit.service.listening import listening

pytestmark = pytest.mark.anyio

BOUNDS = ConnectionBounds(
    max_connections=100, max_header_bytes=32_768, header_timeout_s=10, idle_timeout_s=10,
    send_timeout_s=10,
)  # fmt: skip
BODY = json.dumps({"query": "red", "limit": 1}).encode()
LINES = (b"Host: localhost", b"Content-Type: application/json", b"X-Request-ID: mine-1")


def request(
    *lines: bytes, start: bytes = b"POST /search/text HTTP/1.1", body: bytes = BODY
) -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((start, *LINES, *lines, length, b"", body))


@pytest.fixture
def full() -> Admission:
    admission = Admission(max_waiting_items=32, query_timeout_ms=10_000)
    admission.waiting_items = 32
    return admission


def refuse(admission: Admission, data: bytes) -> Any:
    return EarlyRefusals(admission, Metrics()).refusal(data, "10.0.0.1", [(b"date", b"today")])


def test_a_plain_search_is_refused_with_what_is_left_to_read(full: Admission) -> None:
    data = request()
    for sent in (len(data), len(data) - 5, len(data) - len(BODY)):
        refusal = refuse(full, data[:sent])
        assert refusal.answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
        assert refusal.unread_bytes == len(data) - sent


@pytest.mark.parametrize("path", [b"/search", b"/search/image", b"/embed/text", b"/embed/image"])
def test_every_search_is_refused(full: Admission, path: bytes) -> None:
    assert refuse(full, request(start=b"POST %s HTTP/1.1" % path)) is not None


@pytest.mark.parametrize(
    "data", [
        request()[:40],
        request(start=b"GET /search/text HTTP/1.1"),
        request(start=b"POST /search/text HTTP/1.0"),
        request(start=b"POST /search/text?x=1 HTTP/1.1"),
        request(start=b"POST http://localhost/search/text HTTP/1.1"),
        request(start=b"POST /search/texts HTTP/1.1"),
        request(start=b"POST /admin/reload HTTP/1.1"),
        request(start=b" POST /search/text HTTP/1.1"),
        request() + b"x",
        request() * 2,
        request(b"Content-Length: 3"),
        request(b"Transfer-Encoding: chunked"),
        request(b"Expect: 100-continue"),
        request(b"Upgrade: websocket"),
        request(b"Origin: https://a.org"),
        request(b"Connection: close"),
        request(b"Connection: upgrade"),
        request(b"Host: twice"),
        request(b"no colon"),
        request(b"space : before"),
        request(b"nul: \0"),
        request(b" folded: line"),
        request(b"x: " + b"a" * 5_000),
        request(*[b"x-%d: 1" % number for number in range(70)]),
        request(body=b" " * 70_000),
        request().replace(b"Content-Length: ", b"Content-Length: +"),
        request().replace(b"Host: localhost\r\n", b""),
        request().replace(b"\r\n", b"\n"),
    ],
)  # fmt: skip
def test_all_that_is_not_plain_goes_the_long_way(full: Admission, data: bytes) -> None:
    assert refuse(full, data) is None


def test_where_there_is_room_nothing_is_refused(full: Admission) -> None:
    full.waiting_items = 31
    assert refuse(full, request()) is None


def served(app: FastAPI, as_app: ASGIApp | None = None) -> AbstractAsyncContextManager[int]:
    http = bounded_protocol(BOUNDS, app.state.early_refusals, app.state.served.metrics)
    return listening(as_app or app, http=http, server_header=False)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], Any]:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            lines = [line.partition(": ") for line in head[1:-2]]
            headers = {name.lower(): value for name, _, value in lines}
            assert len(headers) == len(lines)
            body = await self.reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


async def test_it_says_what_the_long_way_says(make_app: MakeApp) -> None:
    app = make_app(max_waiting_items=32)
    app.state.served.admission.waiting_items = 32
    came = []

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        came.append(scope["path"])
        await app(scope, receive, send)

    async with served(app, counted) as port, connected(port) as client:
        client.writer.write(request())
        early = await client.answer()
        assert came == []
        client.writer.write(request(b"Origin: https://a.org"))
        late = await client.answer()
    assert came == ["/search/text"]
    for _, headers, _ in (early, late):
        headers.pop("date")
    assert early == late
    assert early[0] == 503 and int(early[1]["retry-after"]) >= 1
    assert early[2]["request_id"] == early[1]["x-request-id"] == "mine-1"


async def test_a_refused_body_is_skipped_and_the_connection_goes_on(make_app: MakeApp) -> None:
    app = make_app(max_waiting_items=32)
    admission = app.state.served.admission
    data = request()
    async with served(app) as port, connected(port) as client:
        for end in (len(data), len(data) - 1, len(data) - len(BODY) + 1, len(data) - len(BODY)):
            admission.waiting_items = 32
            client.writer.write(data[:end])
            assert (await client.answer())[0] == 503
            admission.waiting_items = 0
            client.writer.write(data[end:] + data)
            assert (await client.answer())[0] == 200


async def test_refusals_are_logged_and_counted_as_all_others_are(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(max_waiting_items=32)
    admission = app.state.served.admission
    admission.waiting_items = 32
    with caplog.at_level(logging.INFO, logger="service.access"):
        async with served(app) as port, connected(port) as client:
            for _ in range(2):
                client.writer.write(request())
                await client.answer()
            async with httpx.AsyncClient() as other:
                metrics = (await other.get(f"http://127.0.0.1:{port}/metrics")).text
    for line in (
        'hrem_requests_total{method="POST",route="/search/text",status="503"} 2.0',
        'hrem_problems_total{code="overloaded"} 2.0',
    ):
        assert re.search(rf"^{re.escape(line)}$", metrics, re.M), line
    refused = [record.fields for record in caplog.records if record.fields["status"] == 503]
    assert [line["client"] for line in refused] == ["127.0.0.1"] * 2
    assert {line["code"] for line in refused} == {"overloaded"}
    assert {line["request_id"] for line in refused} == {"mine-1"}


async def test_a_trusted_proxy_is_not_taken_for_the_client(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(max_waiting_items=32, trusted_proxies=("127.0.0.0/8",))
    app.state.served.admission.waiting_items = 32
    with caplog.at_level(logging.INFO, logger="service.access"):
        async with served(app) as port, connected(port) as client:
            client.writer.write(request(b"X-Forwarded-For: 1.2.3.4"))
            await client.answer()
    assert [record.fields["client"] for record in caplog.records] == [None]
