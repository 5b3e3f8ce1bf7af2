"""The load generator against a small real server on loopback, whose answers the tests choose."""

import json
import math
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load_generator import Answered, Expected, LoadPlan, LoadReport, generate, quantile

REFUSAL = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n"


def answer(scores: list[float], *, version: int = 1, prefix: str = "i") -> bytes:
    hits = [{"id": f"{prefix}{place}", "score": score} for place, score in enumerate(scores)]
    body = json.dumps({"results": [{"hits": hits}], "index": {"version": version}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@contextmanager
def server(respond: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """Answers each body with what `respond` returns; None closes the connection."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                size = 0
                while line.strip():
                    name, _, value = line.partition(b":")
                    size = int(value) if name.lower() == b"content-length" else size
                    line = self.rfile.readline()
                content = respond(self.rfile.read(size))
                if content is None:
                    return
                self.wfile.write(content)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def load(respond: Callable[[bytes], bytes | None], **more: Any) -> LoadReport:
    with server(respond) as url:
        plan = LoadPlan(url, [b"0", b"1"], seconds=0.3, clients=2)
        return generate(replace(plan, url=url, **more))


def test_every_request_ends_as_accepted_refused_or_failed():
    answers = {b"0": answer([0.5]), b"1": REFUSAL + b"Retry-After: 1\r\n\r\n", b"2": None}
    report = load(answers.__getitem__, bodies=[b"0", b"1", b"2"])
    failed = sum(report.failed.values())
    assert report.sent == len(report.accepted) + len(report.refused) + failed
    assert min(len(report.accepted), len(report.refused), failed) > 0
    assert list(report.failed) == ["ConnectionResetError: closed without an answer"]
    assert report.without_retry_after == 0
    assert report.versions == {1: len(report.accepted)}


def test_a_refusal_that_does_not_say_when_to_come_back_is_counted():
    report = load(lambda _: REFUSAL + b"\r\n")
    assert report.without_retry_after == len(report.refused) == report.sent > 0


def test_any_other_status_has_failed():
    report = load(lambda _: b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")
    assert report.failed == {"status 500": report.sent}


def test_the_answer_to_another_query_has_failed():
    def respond(body: bytes) -> bytes:
        return answer([float(body)])

    scores = {0: [[0.0]], 1: [[1.0]]}
    right = load(respond, expected={1: Expected(scores)})
    assert len(right.accepted) == right.sent > 0
    wrong = load(respond, expected={1: Expected({0: [[1.0]], 1: [[0.0]]})})
    assert wrong.failed == {"answer to another query": wrong.sent}


def test_a_load_goes_on_where_it_is_told_to_and_begins_again_at_the_end():
    asked = []

    def respond(body: bytes) -> bytes:
        asked.append(int(body))
        return answer([1.0])

    load(respond, bodies=[b"0", b"1", b"2"], first=2, clients=1)
    assert asked[:4] == [2, 0, 1, 2]


def test_an_answer_whose_ids_are_of_another_version_has_failed():
    prefixes = {1: Expected(prefix="a"), 2: Expected(prefix="b")}
    right = load(lambda _: answer([1.0], version=2, prefix="b"), expected=prefixes)
    assert right.versions == {2: right.sent}
    for prefix, version, fault in (("a", 2, "mixed answer"), ("a", 3, "unknown version")):
        content = answer([1.0], version=version, prefix=prefix)
        wrong = load(lambda _, content=content: content, expected=prefixes)
        assert wrong.failed == {fault: wrong.sent}


def test_a_request_that_is_never_answered_fails_after_its_patience():
    released = threading.Event()

    def respond(body: bytes) -> bytes:
        released.wait(5)
        return answer([1.0])

    report = load(respond, patience_s=0.2)
    released.set()
    assert report.failed == {"no answer in time": report.sent}


@pytest.mark.parametrize("how", [{"clients": 1}, {"clients": 0, "rate": 50.0}])
def test_a_load_ends_when_its_file_is_there(tmp_path: Path, how: dict[str, Any]):
    sign = tmp_path / "enough"

    def respond(body: bytes) -> bytes:
        sign.touch()
        return answer([1.0])

    report = load(respond, until=sign, seconds=60, **how)
    assert 1 <= report.sent < 60 * 50
    assert len(report.accepted) == report.sent


def test_an_open_loop_sends_at_its_rate_whatever_the_answers_do():
    def slow(body: bytes) -> bytes:
        time.sleep(0.4)
        return answer([1.0])

    report = load(slow, clients=0, rate=100.0, seconds=0.5)
    assert 30 <= report.sent <= 80  # 50 on average; a closed loop of one would send 2
    assert len(report.accepted) == report.sent
    assert min(report.accepted.seconds) >= 0.4


def test_a_body_that_comes_in_pieces_is_one_answer():
    whole = answer([0.5] * 5000)
    report = load(lambda _: whole, expected={1: Expected({0: [[0.5] * 5000]})})
    assert len(report.accepted) == report.sent > 0


def test_a_rate_is_the_same_whether_answers_come_one_by_one_or_in_bursts():
    single = [0.1 * (place + 1) for place in range(40)]
    bursts = [0.8 * (place // 8 + 1) for place in range(40)]
    for finished, skip in ((single, 1), (bursts, 8)):
        assert math.isclose(Answered([1.0] * 40, finished).rate(skip=skip), 10.0)
    assert math.isnan(Answered([], []).rate())


def test_quantiles_are_values_that_occur():
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert math.isnan(quantile([], 0.5))
