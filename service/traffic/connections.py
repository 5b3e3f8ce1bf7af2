"""Connections of slow, greedy and confused clients: bounded, so that others are answered.

uvicorn bounds the time between requests and nothing else: who sends a byte now and then, never
reads, or opens connections by the thousand holds them for as long as it likes. Here
- the head of a request must be whole in time and within a number of bytes and lines;
- what is left of a body that nobody reads any more, and an answer that is not fetched, do not keep
  a connection open (how slowly a body may come while it is read is bounded in `uploads`);
- beyond a number of connections the one whose client has owed us bytes for longest makes way, and
  where none owes any the new one gets a 503. Bytes that we have not yet come to read are not owed;
- a search that there is no room for is refused before it is parsed (`early_refusals`);
- what is no HTTP is told so in the shape of all other problems.
"""

import re
import select
import time
import uuid
from dataclasses import dataclass
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from service.addresses import plain_address
from service.observing.metrics import Metrics
from service.observing.observability import record_refusal
from service.problems import Problem
from service.traffic.early_refusals import EarlyRefusals
from service.traffic.owing_connections import OwingConnections
from service.traffic.problem_bytes import problem_bytes
from service.traffic.strict_reader import MAX_HEADER_LINES, StrictReader

__all__ = ["BoundedProtocol", "ConnectionBounds", "bounded_protocol"]

# A refused client is read to its end for a moment: closing at once would reset the connection, and
# the client would often not see why.
LINGER_S = 2.0
SLOWEST_BYTES_PER_S = 10_000
# Of one segment at most; who sends more at once has its head looked at in pieces.
HEAD_PIECE_BYTES = 4_096


@dataclass(frozen=True)
class ConnectionBounds:
    """How many connections, and how slow their clients may be.

    Attributes:
        max_connections: Open at the same time; as many more may be refused ones that are ending.
        max_header_bytes: Request line and header lines of one request.
        header_timeout_s: From its first byte, or from connecting, to the end of the head.
        idle_timeout_s: Between two requests.
        send_timeout_s: Without the client fetching its answer, beside the time of a slow line.
    """

    max_connections: int
    max_header_bytes: int
    header_timeout_s: float
    idle_timeout_s: int
    send_timeout_s: float


def bounded_protocol(
    bounds: ConnectionBounds, early_refusals: EarlyRefusals, metrics: Metrics
) -> "type[BoundedProtocol]":
    """Return the protocol that uvicorn makes one of for each connection.

    Args:
        bounds: Of its connections.
        early_refusals: Refuses searches that there is no room for.
        metrics: Counts what is refused here.
    """
    shared: dict[str, Any] = {
        "bounds": bounds,
        "early_refusals": early_refusals,
        "metrics": metrics,
        "owing": OwingConnections(),
        "lingering": {},
    }
    return type("BoundedProtocol", (BoundedProtocol,), shared)


class BoundedProtocol(H11Protocol):
    """One connection; `sweep` is to be called about once a second."""

    # Of all connections of a server.
    bounds: ClassVar[ConnectionBounds]
    early_refusals: ClassVar[EarlyRefusals]
    metrics: ClassVar[Metrics]
    owing: ClassVar[OwingConnections["BoundedProtocol"]]
    lingering: ClassVar[dict["BoundedProtocol", None]]  # refused ones, the oldest first

    conn: StrictReader

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn = StrictReader(max_header_bytes=self.bounds.max_header_bytes)
        self._owing_since = 0.0  # the client owes us a whole request since then
        self._refused_at: float | None = None
        self._sending_until: float | None = None
        self._unread_bytes = 0  # of a body that was refused

    # What asyncio calls.

    def connection_made(self, transport: Any) -> None:
        """Take a connection, or another one's place, or refuse it."""
        super().connection_made(transport)
        if self.client is not None:
            self.client = (plain_address(self.client[0]), self.client[1])
        self._owing_since = time.monotonic()
        count = len(self.connections) - len(self.lingering)
        if count > self.bounds.max_connections:
            is_way_made = self._make_way()
            self.metrics.count_full("made_way" if is_way_made else "refused")
            if not is_way_made:
                problem = Problem("overloaded", "too many connections; try again")
                problem.headers["Retry-After"] = "1"
                self._refuse(problem)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of a connection."""
        self.lingering.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a request, of a head only so many at a time."""
        is_between = self.timeout_keep_alive_task is not None and not self._unread_bytes
        if self.conn.their_state is h11.IDLE and is_between:
            self._owing_since = time.monotonic()
        if self._unread_bytes:
            skipped = min(self._unread_bytes, len(data))
            self._unread_bytes -= skipped
            data = data[skipped:]
        if data and self._turn_away(data):
            return
        place = 0
        while place < len(data) and self._refused_at is None and not self.transport.is_closing():
            is_head = self.conn.their_state is h11.IDLE
            end = place + HEAD_PIECE_BYTES if is_head else len(data)
            super().data_received(data[place:end])
            place = end

    def pause_writing(self) -> None:
        """Note that the client is slower than its answer."""
        super().pause_writing()
        self._sending_until = self._end_of_sending()

    def resume_writing(self) -> None:
        """Note that the client has caught up."""
        super().resume_writing()
        self._sending_until = None

    # What uvicorn calls.

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self._owing_since = time.monotonic()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP request that we read."""
        refusal = self.conn.refusal
        if refusal is not None and refusal.error_status_hint == 431:
            most = f"{self.bounds.max_header_bytes:,} bytes and {MAX_HEADER_LINES} lines"
            self._refuse(Problem("headers_too_large", f"a request's head has at most {most}"))
        else:
            # h11 quotes the line, as Python writes bytes.
            reason = re.sub(r": bytearray\(.*", "", str(refusal or msg), flags=re.DOTALL)
            self._refuse(Problem("malformed_http", f"not a request of HTTP/1.1: {reason}"))

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which no further request came."""
        self.transport.close()

    def shutdown(self) -> None:
        """Close as soon as the request that is answered is."""
        is_over = self._refused_at is not None
        if is_over or self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    # What the server calls.

    def sweep(self, now: float) -> None:
        """Let go of a client that is overdue at the monotonic time `now`."""
        if self.transport.is_closing() or self.flow.write_paused:
            if self._sending_until is None:
                self._sending_until = self._end_of_sending()
            if now > self._sending_until:
                self.transport.abort()
        elif self._refused_at is not None:
            if now - self._refused_at > LINGER_S:
                self.transport.close()
        elif self.conn.their_state is h11.IDLE:
            # Between two requests uvicorn's own timer runs.
            is_late = now - self._owing_since > self.bounds.header_timeout_s
            if is_late and self.timeout_keep_alive_task is None:
                self._refuse_late_head()
        elif self._is_left_over and now - self._owing_since > LINGER_S:
            self.transport.close()

    @property
    def owing_since(self) -> float | None:
        """Since when the client owes us bytes of a request; None if it does not."""
        owes = self.conn.their_state in (h11.IDLE, h11.SEND_BODY)
        is_ending = self._refused_at is not None or self.transport.is_closing()
        return self._owing_since if owes and not is_ending else None

    @property
    def has_unread(self) -> bool:
        """The client has sent bytes that we have not read."""
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def _client_address(self) -> str | None:
        return self.client[0] if self.client else None

    @property
    def _is_left_over(self) -> bool:
        """The answer is given, and the body is still coming."""
        is_answered = self.cycle is not None and self.cycle.response_complete
        return is_answered and self.conn.their_state is h11.SEND_BODY

    def _end_of_sending(self) -> float:
        waiting = self.transport.get_write_buffer_size()
        return time.monotonic() + self.bounds.send_timeout_s + waiting / SLOWEST_BYTES_PER_S

    def _turn_away(self, data: bytes) -> bool:
        """Refuse a search that there is no room for; False if this is none, or there is room."""
        conn = self.conn
        if (
            conn.their_state is not h11.IDLE
            or conn.our_state is not h11.IDLE
            or conn.trailing_data[0]
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        server_headers = self.server_state.default_headers
        refusal = self.early_refusals.refusal(data, self._client_address, server_headers)
        if refusal is None:
            return False
        self._unread_bytes = refusal.unread_bytes
        self.transport.write(refusal.answer)
        self.on_response_complete()
        return True

    def _make_way(self) -> bool:
        """Abort the connection whose client has owed us bytes for longest; False if none does."""
        others = (one for one in self.connections if isinstance(one, BoundedProtocol))
        longest = self.owing.longest(one for one in others if one is not self)
        if longest is not None:
            longest.transport.abort()
        return longest is not None

    def _refuse_late_head(self) -> None:
        if self.conn.trailing_data[0]:
            limit = f"{self.bounds.header_timeout_s:g} s"
            self._refuse(Problem("request_timeout", f"the request's head took more than {limit}"))
        else:
            self.transport.close()  # nothing was asked, so nothing is answered

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, where no answer has begun, and end the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            # Whoever works on the request learns that its client is gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        request_id = uuid.uuid4().hex
        problem.headers["Connection"] = "close"
        server_headers = self.server_state.default_headers
        self.transport.write(problem_bytes(problem, request_id, server_headers, path=""))
        self.conn.send_failed()  # h11 has no part in that answer, nor in anything after it
        record_refusal(self.metrics, request_id, problem=problem, client=self._client_address)
        self._refused_at = time.monotonic()
        self.lingering[self] = None
        if len(self.lingering) > self.bounds.max_connections:
            oldest = next(iter(self.lingering))
            del self.lingering[oldest]  # at once: the connection itself ends a little later
            oldest.transport.abort()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
