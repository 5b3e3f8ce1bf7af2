"""Work for clients that have gone is given up.

A server tells that a client has hung up only to those who ask. While a request is being answered,
this middleware asks; when the client has gone, the task that answers is cancelled, and what has not
begun of its work is dropped wherever it waits.
"""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["GoneClients"]


class GoneClients:
    """ASGI middleware that cancels what nobody waits for any more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        watched = _WatchedBody(receive)
        answering = asyncio.ensure_future(self._app(scope, watched.receive, send))
        watching = asyncio.create_task(watched.until_gone())
        try:
            await asyncio.wait((answering, watching), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
        finally:
            watching.cancel()
            answering.cancel()


class _WatchedBody:
    """Passes the body on and, when all of it has been read, waits for the client to go."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._is_read = asyncio.Event()
        self._is_gone = asyncio.Event()

    async def receive(self) -> Message:
        """Return the next message of the body; after its end, that the client has gone."""
        if self._is_read.is_set():
            await self._is_gone.wait()
            return {"type": "http.disconnect"}
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._is_read.set()
        return message

    async def until_gone(self) -> None:
        """Return when the client has gone after its body was read."""
        await self._is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._is_gone.set()
