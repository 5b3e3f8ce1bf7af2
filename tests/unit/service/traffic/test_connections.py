"""How many connections there are; what clients may do with them is in tests/hostile."""

import asyncio

import pytest

from service.traffic.connections import ConnectionBounds, bounded_protocol
from tests.unit.service.conftest import MakeApp
from tests.unit.service.listening import listening

pytestmark = pytest.mark.anyio

BOUNDS = ConnectionBounds(
    max_connections=8, max_header_bytes=32_768, header_timeout_s=10, idle_timeout_s=10,
    send_timeout_s=10,
)  # fmt: skip


async def test_many_refused_at_once_do_not_linger_in_any_number(make_app: MakeApp) -> None:
    app = make_app()
    protocol = bounded_protocol(BOUNDS, app.state.turnstile)
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
