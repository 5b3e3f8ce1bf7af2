"""Load shedding before parsing: searches that there is no room for, refused from their bytes.

Under ten times the load that can be answered, what a refusal costs is taken from the answers nine
times over, and most of it is the way through parser, application and middleware. This way is short.
It is for requests that are plain in every respect, of which one look at the head tells where they
end; all others go the long way to `LoadShedding`, which says the same.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from service.errors import QueueFullError
from service.observing.metrics import Metrics
from service.observing.observability import record_request, request_id_of
from service.problems import overloaded
from service.traffic.admission import Admission
from service.traffic.load_shedding import SEARCHES
from service.traffic.problem_bytes import problem_bytes

__all__ = ["EarlyRefusals", "Refusal"]

_HEAD_BYTES = 4_096
# What is longer is not worth reading to its end; the long way ends the connection.
_MOST_BODY_BYTES = 65_536
_METHOD = b"POST "
_HEAD = re.compile(
    rb"POST (?P<path>/[a-z/]+) HTTP/1\.1\r\n"
    rb"(?P<lines>(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*[\x21-\x7e][\x20-\x7e\t]*\r\n){1,64})\r\n"
)
# These change what is asked, where it ends, or who may read the answer.
_NOT_PLAIN = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"origin", b"trailer", b"te"))


@dataclass(frozen=True)
class Refusal:
    """An answer as it goes over the wire.

    Attributes:
        answer: Its bytes.
        unread_bytes: Of the request's body, that are still to come.
    """

    answer: bytes
    unread_bytes: int


class EarlyRefusals:
    """Knows whether there is room, and how to say that there is none."""

    def __init__(
        self, admission: Admission, metrics: Metrics, *, trusted_proxies: Sequence[str] = ()
    ) -> None:
        self._admission = admission
        self._metrics = metrics
        self._proxies = [ip_network(proxy, strict=False) for proxy in trusted_proxies]

    def refusal(
        self, data: bytes, client: str | None, server_headers: list[tuple[bytes, bytes]]
    ) -> Refusal | None:
        """Return how a request is refused; None if there is room, or the request is not plain.

        Args:
            data: What came on a connection that waits for a request.
            client: The address that it came from.
            server_headers: Those of every answer.
        """
        if not data.startswith(_METHOD):
            return None
        try:
            self._admission.check_room()
        except QueueFullError as error:
            return self._refused(data, client, server_headers, error)
        return None

    def _refused(
        self,
        data: bytes,
        client: str | None,
        server_headers: list[tuple[bytes, bytes]],
        error: QueueFullError,
    ) -> Refusal | None:
        started = time.perf_counter()
        head = _HEAD.match(data, 0, _HEAD_BYTES)
        if head is None or (path := head["path"].decode()) not in SEARCHES:
            return None
        headers = [
            (name.lower(), value.strip())
            for name, _, value in (line.partition(b":") for line in head["lines"].splitlines())
        ]
        unread_bytes = _unread_bytes(headers, len(data) - head.end())
        if unread_bytes is None:
            return None
        request_id = request_id_of(headers)
        problem = overloaded(error)
        is_forwarded = any(name == b"x-forwarded-for" for name, _ in headers)
        self._metrics.begin_request()
        record_request(
            self._metrics, request_id, method="POST", route=path, status=problem.status,
            problem=problem.code, seconds=time.perf_counter() - started,
            client=None if is_forwarded and self._is_proxy(client) else client,
        )  # fmt: skip
        return Refusal(problem_bytes(problem, request_id, server_headers, path=path), unread_bytes)

    def _is_proxy(self, client: str | None) -> bool:
        """Return whether the address is that of a proxy, so that the client's is another."""
        if client is None or not self._proxies:
            return False
        return any(ip_address(client) in network for network in self._proxies)


def _unread_bytes(headers: list[tuple[bytes, bytes]], read_bytes: int) -> int | None:
    """Return how much of a body is still to come; None where that or the request is not plain."""
    values = dict(headers)
    length = values.get(b"content-length", b"")
    is_plain = (
        len(values) == len(headers)  # nothing is said twice
        and values.keys().isdisjoint(_NOT_PLAIN)
        and values.get(b"connection", b"keep-alive").lower() == b"keep-alive"
        and b"host" in values
        and re.fullmatch(rb"\d{1,6}", length) is not None
    )
    if not is_plain or not read_bytes <= int(length) <= _MOST_BODY_BYTES:
        return None
    return int(length) - read_bytes
