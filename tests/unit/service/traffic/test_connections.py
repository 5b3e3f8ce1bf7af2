"""How many connections there are; what clients may do with them is in tests/hostile."""

import asyncio
import json
import logging

import pytest

from service.addresses import plain_address
from service.traffic.connections import ConnectionBounds, bounded_protocol
from tests.unit.service.conftest import MakeApp
from tests.unit.service.listening import listening, search_request
from tests.unit.service.slow_encoder import hold_encoder, wait_until

pytestmark = pytest.mark.anyio

BOUNDS = ConnectionBounds(
    max_connections=8, max_header_bytes=32_768, header_timeout_s=10, idle_timeout_s=10,
    send_timeout_s=10,
)  # fmt: skip


async def test_many_refused_at_once_do_not_linger_in_any_number(make_app: MakeApp) -> None:
    app = make_app()
    protocol = bounded_protocol(BOUNDS, app.state.early_refusals, app.state.served.metrics)
    async with listening(app, http=protocol) as port:
        clients = []
        for _ in range(4):
            opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
            for _, writer in opened:
                writer.write(b"no HTTP\r\n\r\n")
            await asyncio.gather(*(reader.read() for reader, _ in opened), return_exceptions=True)
            clients += opened
            assert len(protocol.lingering) <= BOUNDS.max_connections
        for _, writer in clients:
            writer.close()


async def test_who_is_refused_for_too_many_connections_is_counted_logged_and_told(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    metrics, admission = app.state.served.metrics, app.state.served.admission
    released = hold_encoder(app, monkeypatch)
    protocol = bounded_protocol(BOUNDS, app.state.early_refusals, metrics)
    async with listening(app, http=protocol) as port:
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        late = await asyncio.open_connection("127.0.0.1", port)  # the first one makes way
        for number, (_, writer) in enumerate((*clients[1:], late)):
            writer.write(search_request(f"number {number}"))
        await wait_until(lambda: admission.waiting_items == 8)
        with caplog.at_level(logging.INFO, logger="service.access"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        released.set()
        for connection in (*clients, late, (reader, writer)):
            connection[1].close()
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert {b"connection: close", b"retry-after: 1"} <= set(head.split(b"\r\n"))
    (line,) = [record.fields for record in caplog.records if "method" not in record.fields]
    problem = json.loads(body)
    told = {name: problem[name] for name in ("request_id", "status", "code")}
    assert line == {**told, "client": "127.0.0.1"}
    exposed = metrics.exposition(is_ready=True).decode().splitlines()
    for counted in (
        'hrem_connections_when_full_total{outcome="made_way"} 1.0',
        'hrem_connections_when_full_total{outcome="refused"} 1.0',
        'hrem_problems_total{code="overloaded"} 1.0',
    ):
        assert counted in exposed


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("::ffff:10.9.9.9", "10.9.9.9"),
        ("10.9.9.9", "10.9.9.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("/run/search.sock", "/run/search.sock"),
    ],
)
def test_an_ipv4_address_is_the_same_whatever_carried_it(address: str, plain: str) -> None:
    assert plain_address(address) == plain


async def test_what_is_no_http_is_refused_in_words(make_app: MakeApp) -> None:
    app = make_app()
    protocol = bounded_protocol(BOUNDS, app.state.early_refusals, app.state.served.metrics)
    async with listening(app, http=protocol) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /\r\n\r\n")
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
    assert json.loads(body)["detail"] == "not a request of HTTP/1.1: illegal request line"
