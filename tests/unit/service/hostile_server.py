"""A server on loopback that says exactly what a test wants, byte by byte, and counts who comes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["HostileServer", "Script", "answer", "hostile_server", "redirect"]

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class HostileServer:
    """What was asked, and where it listens."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [request.split(b" ")[1].decode() for request in self.requests]


def answer(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    """Sends a whole, honest answer."""

    async def write(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return write


def redirect(location: str, status: str = "302 Found") -> Script:
    return answer(b"elsewhere", f"Location: {location}", status=status)


@asynccontextmanager
async def hostile_server(
    scripts: dict[str, Script], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[HostileServer]:
    """Serves each path by its script until the connection is closed from the other side."""
    heard = HostileServer()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            heard.requests.append(request)
            await scripts[heard.paths[-1]](writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side, or the test, has gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    heard.port = server.sockets[0].getsockname()[1]
    try:
        yield heard
    finally:
        server.close()
