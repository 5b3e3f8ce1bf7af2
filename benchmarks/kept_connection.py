"""The least of HTTP that a load needs: one request at a time on a connection that is kept open.

What stands between a service and the clock must cost little, and the same for every answer; HTTP
clients cost as much as what is measured.
"""

import asyncio
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["KeptConnection", "LoneClient", "Response", "request_bytes"]


def request_bytes(host: str, path: str, body: bytes, *, key: str | None = None) -> bytes:
    """Return a request with a JSON body, as it goes over the wire."""
    authorization = "" if key is None else f"Authorization: Bearer {key}\r\n"
    return (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass(frozen=True)
class Response:
    """What a load looks at of an answer."""

    status: int
    has_retry_after: bool
    is_last: bool  # of its connection
    content: bytes


def whole_response(received: bytes) -> Response | None:
    """Return the one response that was received, or None if more of it is to come."""
    head, end, content = received.partition(b"\r\n\r\n")
    headers = head.lower()
    _, found, length = headers.partition(b"\r\ncontent-length:")
    if not end or len(content) < (int(length.split(b"\r\n", 1)[0]) if found else 0):
        return None
    return Response(
        status=int(head[9:12]),
        has_retry_after=b"\r\nretry-after:" in headers,
        is_last=b"\r\nconnection: close" in headers,
        content=content,
    )


class KeptConnection(asyncio.Protocol):
    """One connection to a server, kept open; one request at a time.

    Attributes:
        is_open: Whether another request can be sent on it.
        idle_since: When its last answer came, by the clock of whoever keeps it.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.idle_since = 0.0
        self._received = b""
        self._answer: asyncio.Future[Response] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.is_open = transport, True

    def send(self, request: bytes) -> "asyncio.Future[Response]":
        """Send a request; its answer is to be awaited before the next one."""
        assert self._transport is not None
        self._received = b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Take bytes of the answer."""
        self._received += data
        if self._answer is None or self._answer.done():
            return
        response = whole_response(self._received)
        if response is not None:
            self.is_open = not response.is_last
            self._answer.set_result(response)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail the request that is under way."""
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed without an answer"))

    def close(self) -> None:
        """Close the connection at once."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()


class LoneClient:
    """One client on one kept connection, for times that are compared one by one."""

    def __init__(self, url: str, *, path: str = "/search/text") -> None:
        self._address = urlsplit(url)
        self._path = path
        host, port = self._address.hostname or "127.0.0.1", self._address.port or 80
        self._socket = socket.create_connection((host, port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> "LoneClient":
        """Return the client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connection."""
        self._socket.close()

    def ask(self, body: bytes) -> tuple[Response, float]:
        """Return the answer, and the seconds until it was there as a whole.

        Raises:
            OSError: The connection was lost.
        """
        request = request_bytes(self._address.netloc, self._path, body)
        started = time.perf_counter()
        self._socket.sendall(request)
        received = b""
        while (response := whole_response(received)) is None:
            if not (piece := self._socket.recv(65_536)):
                raise ConnectionResetError("closed without an answer")
            received += piece
        return response, time.perf_counter() - started
