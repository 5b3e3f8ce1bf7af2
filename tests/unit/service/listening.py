"""An app behind a real socket, for what only bytes on a connection can show."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp

__all__ = ["listening"]


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
