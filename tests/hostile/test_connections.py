"""Slow, greedy and confused clients on raw sockets, and an honest one beside them."""

import contextlib
import json
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.hostile.conftest import Confined, confined_service

# Short, so that the tests are.
HEADER_TIMEOUT_S = 2
IDLE_TIMEOUT_S = 2
SEND_TIMEOUT_S = 2
UPLOAD_TIMEOUT_S = 3
MAX_CONNECTIONS = 64
SLACK_S = 20  # others may work on this machine
QUERY = b'{"query": "a red circle", "limit": 1}'
HEAD = b"POST /search/text HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LIVE = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"

Connect = Callable[[], socket.socket]


@pytest.fixture(scope="module")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    flags = ["--max-connections", MAX_CONNECTIONS, "--upload-timeout-ms", UPLOAD_TIMEOUT_S * 1000]
    flags += ["--header-timeout-ms", HEADER_TIMEOUT_S * 1000]
    flags += ["--idle-timeout-s", IDLE_TIMEOUT_S, "--send-timeout-ms", SEND_TIMEOUT_S * 1000]
    yield from confined_service(index, *flags, temporary=tmp_path_factory.mktemp("temporary"))


@pytest.fixture
def connect(service: Confined) -> Iterator[Connect]:
    """Opens connections, and closes them after the test."""
    address = urlsplit(service.url)
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(
            socket.create_connection((address.hostname, address.port), timeout=SLACK_S)
        )


@pytest.fixture(autouse=True)
def _honest_client(service: Confined) -> Iterator[None]:
    """After everything the service answers a new client at once, and has not grown."""
    yield
    check_honest(service)
    assert service.resident_mb() < 1_000


def check_honest(service: Confined) -> None:
    with httpx.Client(base_url=service.url, timeout=SLACK_S) as api:
        for _ in range(2):
            answer = api.post("/search/text", json={"query": "a red circle", "limit": 1})
            assert answer.status_code == 200, answer.text


def whole(connection: socket.socket) -> bytes:
    """All that comes until the service ends the connection."""
    pieces = []
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            pieces.append(piece)
    return b"".join(pieces)


def asked(connection: socket.socket, request: bytes) -> bytes:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.sendall(request)
    return whole(connection)


def check_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d" % status), answer[:300]
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert b"Traceback" not in answer


@pytest.mark.parametrize("sent", [b"GET", b"GET / HTTP/1.1\r\n", HEAD + b"x-slow: "])
def test_a_head_that_does_not_end_is_refused_in_time(connect: Connect, sent: bytes) -> None:
    connection = connect()
    started = time.monotonic()
    answer = asked(connection, sent)
    assert HEADER_TIMEOUT_S <= time.monotonic() - started < HEADER_TIMEOUT_S + SLACK_S
    check_problem(answer, 408, "request_timeout")


def trickle(connection: socket.socket, piece: bytes, *, longest_s: float) -> float:
    """Send a piece ten times a second until the service hangs up; returns when it did."""
    started = time.monotonic()
    connection.setblocking(False)
    while (elapsed := time.monotonic() - started) < longest_s:
        try:
            connection.send(piece)
            if not connection.recv(65_536):
                return elapsed
        except BlockingIOError:
            pass
        except OSError:
            return elapsed
        time.sleep(0.1)
    pytest.fail(f"the connection is still open after {longest_s} s")


def test_a_head_that_trickles_is_refused_in_time(connect: Connect) -> None:
    connection = connect()
    connection.sendall(b"GET / HTTP/1.1\r\n")
    trickle(connection, b"x: y\r\n", longest_s=HEADER_TIMEOUT_S + SLACK_S)


def test_a_second_head_that_trickles_is_refused_in_time(connect: Connect) -> None:
    connection = connect()
    connection.sendall(LIVE)
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    trickle(connection, b"x", longest_s=HEADER_TIMEOUT_S + SLACK_S)


def test_a_body_that_trickles_is_refused_in_time(connect: Connect) -> None:
    connection = connect()
    connection.sendall(HEAD + b"content-length: 100000\r\n\r\n")
    trickle(connection, b" ", longest_s=UPLOAD_TIMEOUT_S + SLACK_S)


def test_a_body_that_nobody_reads_does_not_hold_a_connection(connect: Connect) -> None:
    """The answer is complete; what still trickles in would keep uvicorn from closing."""
    connection = connect()
    connection.sendall(
        b"GET /health/live HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n"
    )
    assert connection.recv(65_536).startswith(b"HTTP/1.1 200")
    trickle(connection, b" ", longest_s=SLACK_S)


def test_connections_that_say_nothing_are_closed_without_a_word(connect: Connect) -> None:
    connections = [connect() for _ in range(20)]
    assert [whole(connection) for connection in connections] == [b""] * 20


def test_connections_that_go_idle_are_closed(connect: Connect) -> None:
    connections = [connect() for _ in range(20)]
    for connection in connections:
        connection.sendall(LIVE)
    assert all(whole(connection).startswith(b"HTTP/1.1 200") for connection in connections)


def test_who_does_not_fetch_the_answer_is_let_go(connect: Connect, service: Confined) -> None:
    connection = connect()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.settimeout(1)
    with contextlib.suppress(TimeoutError):
        # Their answers are more than the buffers of both sides hold.
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 500)
    deadline = time.monotonic() + SEND_TIMEOUT_S + 6 * SLACK_S
    while time.monotonic() < deadline:
        try:
            connection.send(b"G")
        except TimeoutError:
            continue
        except OSError:
            return
        time.sleep(0.2)
    pytest.fail("the connection is still open")


def test_slow_clients_in_any_number_do_not_keep_an_honest_one_out(
    connect: Connect, service: Confined
) -> None:
    for held in (b"", b"GET / HTTP/1.1\r\nx: ", HEAD + b"content-length: 9999\r\n\r\n{"):
        for _ in range(2 * MAX_CONNECTIONS):
            with contextlib.suppress(OSError):
                connect().sendall(held)
        check_honest(service)


def test_a_burst_that_came_while_the_service_was_busy_is_answered_or_refused_but_not_reset(
    connect: Connect, service: Confined
) -> None:
    request = LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
    service.process.send_signal(signal.SIGSTOP)
    try:
        connections = [connect() for _ in range(4 * MAX_CONNECTIONS)]
        for connection in connections:
            connection.sendall(request)
    finally:
        service.process.send_signal(signal.SIGCONT)
    statuses = Counter(whole(connection)[9:12] for connection in connections)
    assert set(statuses) <= {b"200", b"503"}
    assert statuses[b"200"] >= MAX_CONNECTIONS // 2


@pytest.mark.parametrize(
    "request_", [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"GET /" + b"a" * 5_000_000,
        b"G" * 100_000,
        b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 10_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a" * 40_000 + b": b\r\n\r\n",
    ], ids=["target", "endless target", "method", "line", "10,000 lines", "300 lines", "name"],
)  # fmt: skip
def test_an_absurd_head_is_refused(connect: Connect, request_: bytes) -> None:
    check_problem(asked(connect(), request_), 431, "headers_too_large")


def test_a_large_but_honest_head_is_read(connect: Connect) -> None:
    cookies = b"cookie: " + b"a" * 8_000 + b"\r\n"
    request = LIVE[:-2] + b"connection: close\r\n" + cookies * 3 + b"x: y\r\n" * 100 + b"\r\n"
    assert asked(connect(), request).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_", [
        b"GET /\r\n\r\n",
        b"GET / HTTP/0.9\r\n\r\n",
        b"GET / HTTP/7.0\r\nhost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: b\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
        b"G\0T / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(500),
        b"\r\n\r\n\r\nnonsense\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 1e3\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n12345",
        HEAD + b"content-length: 37\r\ntransfer-encoding: chunked\r\n\r\n25\r\n" + QUERY,
        HEAD + b"transfer-encoding: gzip\r\n\r\n" + QUERY,
        HEAD + b"transfer-encoding: chunked, chunked\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n-5\r\nabcde\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\nabc\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n3\r\nabcde\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 50_000,
    ],
)  # fmt: skip
def test_what_is_no_request_of_http_is_refused(connect: Connect, request_: bytes) -> None:
    check_problem(asked(connect(), request_), 400, "malformed_http")


def test_a_chunk_of_endless_extensions_is_refused(connect: Connect) -> None:
    request = HEAD + b"transfer-encoding: chunked\r\n\r\n5;" + b"a" * 200_000
    check_problem(asked(connect(), request), 431, "headers_too_large")


def test_a_handshake_of_tls_on_the_plain_port_fails_at_once(connect: Connect) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(connect(), server_hostname="a")


def test_a_body_shorter_than_it_says_is_given_up(connect: Connect) -> None:
    connection = connect()
    connection.sendall(HEAD + b"content-length: 5000\r\n\r\n" + QUERY)
    connection.shutdown(socket.SHUT_WR)
    assert whole(connection) == b""


def test_what_follows_a_body_is_the_next_request_and_not_part_of_it(connect: Connect) -> None:
    size = b"content-length: %d\r\n\r\n" % len(QUERY)
    answers = asked(connect(), HEAD + size + QUERY + b"and more\r\n\r\n")
    first, second = answers.split(b"HTTP/1.1 ")[1:]
    assert first.startswith(b"200") and second.startswith(b"400")


def test_requests_in_one_piece_are_answered_in_their_order(connect: Connect) -> None:
    size = b"content-length: %d\r\n\r\n" % len(QUERY)
    last = LIVE.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n").replace(
        b"/live", b"/nothing"
    )
    answers = asked(connect(), (LIVE + HEAD + size + QUERY) * 20 + last)
    parts = answers.split(b"HTTP/1.1 ")[1:]
    assert [part[:3] for part in parts] == [b"200"] * 40 + [b"404"]
    assert all(b'"live"' in part for part in parts[:40:2])


def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    connect: Connect, service: Confined
) -> None:
    open_before = len(list(Path(f"/proc/{service.process.pid}/fd").iterdir()))
    request = HEAD + b"content-length: %d\r\n\r\n" % len(QUERY) + QUERY
    for end in range(0, len(request), 3):
        connection = connect()
        connection.sendall(request[:end])
        # A reset, not a farewell.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
    check_honest(service)
    deadline = time.monotonic() + SLACK_S
    while len(list(Path(f"/proc/{service.process.pid}/fd").iterdir())) > open_before + 4:
        assert time.monotonic() < deadline, "connections of clients that left are still open"
        time.sleep(0.2)
