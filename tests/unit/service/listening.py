"""An app behind a real socket, for what only bytes on a connection can show."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

__all__ = ["listening", "search_request"]


def search_request(query: str) -> bytes:
    """A search as it goes over the wire."""
    body = json.dumps({"query": query}).encode()
    head = (
        "POST /search/text HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


@asynccontextmanager
async def listening(app: ASGIApp, **settings: Any) -> AsyncIterator[int]:
    """Serve an app while the block runs, on the port that it gets; `settings` are uvicorn's."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_config=None, lifespan="off", **settings)
    )
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving
