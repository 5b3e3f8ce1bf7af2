"""Pictures fetched by URL, from listed hosts on the public internet and nowhere else.

- The host's name is resolved once, every address it has must be public, and the connection goes to
  the very address that was checked; the peer that is really connected to is checked again. A name
  that changes its address in between (DNS rebinding) gains nothing.
- The certificate is checked against the host's name, not its address.
- Every redirect is a new URL and passes all of this again.
- One deadline covers everything; the size is counted while it arrives; no compression is accepted,
  so nothing can unfold. What the server calls its content is not looked at: the bytes decide.
- No proxy, cookie, password or other setting of the process's environment is used.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address

import httpcore

from model.errors import UnreadablePictureError
from model.inputs.pictures import FORMATS
from service.errors import (
    FetchTooLargeError,
    QueueFullError,
    UrlNotAllowedError,
    UrlUnreachableError,
)
from service.intake.public_addresses import is_public
from service.intake.url_rules import PORTS, PictureUrl, UrlRules

__all__ = ["PictureFetcher"]

MAX_REDIRECTS = 3
MAX_ADDRESSES_TRIED = 3
# An address that says nothing, as IPv6 ones do where only IPv4 leads out, leaves time for the next.
SILENT_ADDRESS_S = 2.0
MAX_FETCHES = 8
MAX_UNDER_WAY = 32
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS: dict[bytes | str, bytes | str] = {
    "User-Agent": "hrem-search",
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
}
# How the formats on the list begin; WebP's own name comes after the length. Only to stop early:
# whether the bytes are a picture is decided when it is opened.
BEGINNINGS = (b"\xff\xd8", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II", b"MM")
LONGEST_BEGINNING = 4

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class PictureFetcher:
    """Fetches the bytes of pictures within bounds, a few at a time."""

    def __init__(
        self,
        rules: UrlRules,
        *,
        max_bytes: int,
        timeout_ms: int,
        may_connect: Callable[[str], bool] = is_public,
        resolve: Resolve | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        """Fetch what `rules` allow.

        Args:
            rules: Which URLs, and which redirects.
            max_bytes: Largest picture.
            timeout_ms: For all of it: names, connections, redirects, and the wait for others.
            may_connect: Which addresses; the default is the only one for the world outside.
            resolve: How names become addresses; by default as everything on this machine does.
            trust: Which certificates; by default those of the usual authorities.
        """
        self._rules = rules
        self._max_bytes = max_bytes
        self._timeout_s = timeout_ms / 1000
        self._may_connect = may_connect
        # Threads of their own: names that take long must not keep others waiting for a thread.
        self._resolvers = ThreadPoolExecutor(MAX_FETCHES, thread_name_prefix="resolver")
        self._resolve = resolve or self._addresses_of
        self._trust = trust
        self._slots = asyncio.Semaphore(MAX_FETCHES)
        self._under_way = 0

    def close(self) -> None:
        """Resolve no more names."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, url: str) -> bytes:
        """Return the bytes at `url`; they begin as a picture does, nothing more is promised.

        Raises:
            UrlNotAllowedError: The URL, or one that it redirects to, is not allowed.
            UrlUnreachableError: There is no answer in time, or it holds no content.
            FetchTooLargeError: The content is larger than a picture may be.
            UnreadablePictureError: The content is no picture of a known format.
            QueueFullError: Too many others are being fetched.
        """
        asked = self._rules.allowed(url)
        if self._under_way >= MAX_UNDER_WAY:
            raise _too_many()
        self._under_way += 1
        has_begun = False
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                has_begun = True
                return await self._follow(asked)
        except TimeoutError as error:
            if not has_begun:
                raise _too_many() from error
            raise UrlUnreachableError(
                f"the URL was not read within {self._timeout_s:g} s"
            ) from error
        finally:
            self._under_way -= 1

    async def _follow(self, url: PictureUrl) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            async with self._answer(url) as answer:
                headers = {name.lower(): value for name, value in answer.headers}
                if answer.status not in REDIRECTS:
                    return await self._content(answer, headers)
                location = headers.get(b"location", b"").decode("latin-1")
            url = self._rules.allowed(location, redirected_from=url)
        raise UrlUnreachableError(f"the URL redirects more than {MAX_REDIRECTS} times")

    @asynccontextmanager
    async def _answer(self, url: PictureUrl) -> AsyncIterator[httpcore.Response]:
        network = _PinnedNetwork(await self._checked_addresses(url), self._may_connect)
        shown = f"[{url.host}]" if ":" in url.host else url.host
        host = shown if url.port == PORTS[url.scheme] else f"{shown}:{url.port}"
        where = httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.target)
        if url.scheme == "https" and self._trust is None:
            self._trust = httpcore.default_ssl_context()
        connection = httpcore.AsyncHTTPConnection(
            where.origin, ssl_context=self._trust, network_backend=network
        )
        async with AsyncExitStack() as open_things:
            open_things.push_async_callback(connection.aclose)
            try:
                answer = await open_things.enter_async_context(
                    connection.stream("GET", where, headers={"Host": host, **HEADERS})
                )
                yield answer
            except httpcore.ConnectError as error:
                raise UrlUnreachableError(
                    "there is no connection to the URL's host, or its certificate is not valid"
                ) from error
            except (httpcore.NetworkError, httpcore.ProtocolError) as error:
                raise UrlUnreachableError(
                    "the URL's host broke off, or its answer is no proper HTTP"
                ) from error

    async def _checked_addresses(self, url: PictureUrl) -> Sequence[str]:
        try:
            ip_address(url.host)
        except ValueError:
            try:
                addresses = await self._resolve(url.host, url.port)
            except (OSError, UnicodeError) as error:
                raise UrlUnreachableError(f"the host {url.host} has no address") from error
        else:
            addresses = [url.host]
        # One that is not public among several is an attempt, not a choice.
        if not addresses or not all(self._may_connect(address) for address in addresses):
            raise _not_public()
        return addresses[:MAX_ADDRESSES_TRIED]

    async def _addresses_of(self, host: str, port: int) -> Sequence[str]:
        found = await asyncio.get_running_loop().run_in_executor(
            self._resolvers, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        )
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def _content(self, answer: httpcore.Response, headers: dict[bytes, bytes]) -> bytes:
        if answer.status != 200:
            raise UrlUnreachableError(f"the URL answers with status {answer.status}, not 200")
        encoding = headers.get(b"content-encoding", b"identity").strip().lower()
        if encoding not in (b"", b"identity"):
            raise UrlUnreachableError(
                f"the content of the URL is compressed ({encoding[:50].decode('latin-1')}), "
                "which was not asked for"
            )
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared[:18]) > self._max_bytes:
            raise self._too_large()
        content = bytearray()
        async for piece in answer.aiter_stream():
            content += piece
            if len(content) > self._max_bytes:
                raise self._too_large()
            if len(content) >= LONGEST_BEGINNING:
                _refuse_other_than_pictures(content)
        _refuse_other_than_pictures(content)
        return bytes(content)

    def _too_large(self) -> FetchTooLargeError:
        return FetchTooLargeError(
            f"the picture at the URL is larger than {self._max_bytes:,} bytes; choose a smaller one"
        )


class _PinnedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were checked before, whatever name it is asked for."""

    def __init__(self, addresses: Sequence[str], may_connect: Callable[[str], bool]) -> None:
        self._addresses = addresses
        self._may_connect = may_connect
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - resolved and checked already
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = self._addresses
        for address in others:
            try:
                return await self._connect(
                    address, port, SILENT_ADDRESS_S, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._connect(last, port, timeout, local_address, socket_options)

    async def _connect(
        self,
        address: str,
        port: int,
        timeout: float | None,
        local_address: str | None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._sockets.connect_tcp(
            address, port, timeout, local_address, socket_options
        )
        peer = str(stream.get_extra_info("server_addr")[0])
        if ip_address(peer) != ip_address(address) or not self._may_connect(peer):
            await stream.aclose()
            raise _not_public()
        return stream


def _too_many() -> QueueFullError:
    return QueueFullError("other pictures are being fetched by URL; try again soon")


def _not_public() -> UrlNotAllowedError:
    # Which address it is would tell a stranger about the network that the service stands in.
    return UrlNotAllowedError(
        "the URL's host is not on the public internet; send the picture itself as base64"
    )


def _refuse_other_than_pictures(content: bytearray) -> None:
    if not content.startswith(BEGINNINGS):
        raise UnreadablePictureError(
            f"what is at the URL is no picture of a known format; use one of {', '.join(FORMATS)}"
        )
