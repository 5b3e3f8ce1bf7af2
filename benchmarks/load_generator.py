"""Requests to a running service, as fast as asked, from a process of its own.

    report = in_fresh_process(generate, LoadPlan(url=..., bodies=..., seconds=10, clients=64))

A closed loop has so many clients, each of which asks again when it was answered. An open loop sends
at a rate, whatever the answers do: a request has its own moment, and its time counts from that
moment on, also if it could only be sent later. Accepted, refused and failed requests are kept
apart; an answer that is not the right one has failed. Plain sockets: this side must cost little.
"""

import asyncio
import json
import os
import random
import resource
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.kept_connection import KeptConnection, Response, request_bytes

__all__ = ["Answered", "Expected", "LoadPlan", "LoadReport", "generate", "quantile"]

# A server may close a connection that nobody used for a few seconds, just when it is used again.
_IDLE_S = 1.0
_SCORE_TOLERANCE = 2e-5


@dataclass(frozen=True)
class Expected:
    """What the right answers of one index version hold.

    Attributes:
        scores: The scores of each query's hits, to 2e-5, by the place of the body; answers to other
            bodies are not compared.
        prefix: How the ids of all hits begin.
    """

    scores: Mapping[int, Sequence[Sequence[float]]] = field(default_factory=dict)
    prefix: str = ""

    def fault(self, place: int, results: list[dict[str, Any]]) -> str | None:
        """Return what is wrong with the answer to the body at `place`; None if nothing is."""
        if not all(hit["id"].startswith(self.prefix) for found in results for hit in found["hits"]):
            return "mixed answer"
        if place in self.scores:
            found = [[hit["score"] for hit in result["hits"]] for result in results]
            if not _are_close(found, self.scores[place]):
                return "answer to another query"
        return None


@dataclass(frozen=True)
class LoadPlan:
    """What to send.

    Attributes:
        url: Of the service.
        key: Shown with every request, where the service asks for one.
        bodies: JSON bodies, in turn.
        first: Place of the first body to send.
        seconds: How long; what was sent by then is waited for.
        clients: Of a closed loop.
        rate: Requests a second of an open loop, at random moments.
        path: Where to.
        core: The one processor core to use.
        patience_s: A request that takes longer has failed.
        expected: What right answers hold, by index version; without any none is looked at, with
            some an answer of another version has failed.
        until: A file; the load ends when it is there.
    """

    url: str
    bodies: Sequence[bytes]
    seconds: float
    first: int = 0
    clients: int = 0
    rate: float = 0.0
    path: str = "/search/text"
    core: int | None = None
    patience_s: float = 60.0
    expected: Mapping[int, Expected] = field(default_factory=dict)
    until: Path | None = None
    key: str | None = None


@dataclass(frozen=True)
class Answered:
    """Requests that ended alike.

    Attributes:
        seconds: How long each took.
        finished: When each ended, in seconds from the start, ascending.
    """

    seconds: list[float]
    finished: list[float]

    def __len__(self) -> int:
        """Return how many they are."""
        return len(self.seconds)

    def quantile(self, share: float) -> float:
        """Return the seconds that this share of them stays within; NaN if there is none."""
        return quantile(self.seconds, share)

    def rate(self, *, skip: int = 0) -> float:
        """Return how many ended a second, from the end of the `skip`-th to that of the last.

        Answers come in bursts, a batch at a time: skip the first burst, whose beginning is unknown.
        """
        if len(self.finished) <= skip + 1:
            return float("nan")
        skip = max(skip, 1)
        return (len(self.finished) - skip) / (self.finished[-1] - self.finished[skip - 1])


@dataclass(frozen=True)
class LoadReport:
    """How a load ended.

    Attributes:
        sent: Requests.
        accepted: Those answered rightly.
        refused: Those answered 503 or 429.
        failed: All others by what went wrong, with their number.
        without_retry_after: Refused ones that did not say when to come back.
        versions: Accepted ones by the index version that answered.
        lateness: Seconds by which the requests of an open loop were sent late; the 99 % quantile.
    """

    sent: int
    accepted: Answered
    refused: Answered
    failed: dict[str, int]
    without_retry_after: int
    versions: dict[int, int]
    lateness: float


def generate(plan: LoadPlan) -> LoadReport:
    """Send what a plan says and return how it ended."""
    if plan.core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {plan.core})
    # Every request that waits has a connection.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return asyncio.run(_Load(plan).run())


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that this share of the values stays within; NaN without values."""
    if not values:
        return float("nan")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _are_close(found: list[list[float]], scores: Sequence[Sequence[float]]) -> bool:
    return len(found) == len(scores) and all(
        len(ours) == len(theirs)
        and all(abs(a - b) <= _SCORE_TOLERANCE for a, b in zip(ours, theirs, strict=True))
        for ours, theirs in zip(found, scores, strict=True)
    )


class _Load:
    """A plan while it is carried out."""

    def __init__(self, plan: LoadPlan) -> None:
        address = urlsplit(plan.url)
        self._plan = plan
        self._host, self._port = address.hostname or "127.0.0.1", address.port or 80
        self._requests = [
            request_bytes(address.netloc, plan.path, body, key=plan.key) for body in plan.bodies
        ]
        self._idle: deque[KeptConnection] = deque()
        self._sent = 0
        self._accepted: list[tuple[float, float]] = []  # when it ended, seconds
        self._refused: list[tuple[float, float]] = []
        self._failed: Counter[str] = Counter()
        self._versions: Counter[int] = Counter()
        self._without_retry_after = 0
        self._lateness: list[float] = []
        self._started = 0.0

    async def run(self) -> LoadReport:
        self._started = time.perf_counter()
        if self._plan.clients:
            await self._closed_loop()
        else:
            await self._open_loop()
        for connection in self._idle:
            connection.close()
        return LoadReport(
            sent=self._sent,
            accepted=_answered(self._accepted),
            refused=_answered(self._refused),
            failed=dict(self._failed),
            without_retry_after=self._without_retry_after,
            versions=dict(self._versions),
            lateness=quantile(self._lateness, 0.99),
        )

    async def _closed_loop(self) -> None:
        async def client() -> None:
            while not self._is_over():
                await self._ask(self._now())

        await asyncio.gather(*(client() for _ in range(self._plan.clients)))

    async def _open_loop(self) -> None:
        gaps = random.Random(0)
        running: set[asyncio.Task[None]] = set()
        due = 0.0
        while (due := due + gaps.expovariate(self._plan.rate)) < self._plan.seconds:
            if self._plan.until is not None and self._plan.until.exists():
                break
            if (wait := due - self._now()) > 0.001:
                await asyncio.sleep(wait)
            self._lateness.append(max(0.0, self._now() - due))
            task = asyncio.create_task(self._ask(due))
            running.add(task)
            task.add_done_callback(running.discard)
            if len(self._lateness) % 32 == 0:
                await asyncio.sleep(0)  # let answers in, also when all is late
        await asyncio.gather(*running)

    async def _ask(self, due: float) -> None:
        place = (self._plan.first + self._sent) % len(self._requests)
        self._sent += 1
        connection: KeptConnection | None = None
        try:
            async with asyncio.timeout(self._plan.patience_s):
                connection = await self._connection()
                response = await connection.send(self._requests[place])
        except TimeoutError:
            self._failed["no answer in time"] += 1
        except OSError as error:
            self._failed[f"{type(error).__name__}: {error}"] += 1
        else:
            self._note(place, response, due)
            if connection.is_open:
                connection.idle_since = self._now()
                self._idle.append(connection)
                return
        if connection is not None:
            connection.close()

    async def _connection(self) -> KeptConnection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and self._now() - connection.idle_since < _IDLE_S:
                return connection
            connection.close()
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(KeptConnection, self._host, self._port)
        return made

    def _note(self, place: int, response: Response, due: float) -> None:
        now = self._now()
        if response.status == 200:
            answer = json.loads(response.content)
            version = answer["index"]["version"]
            if fault := self._fault(place, version, answer["results"]):
                self._failed[fault] += 1
                return
            self._versions[version] += 1
            self._accepted.append((now, now - due))
        elif response.status in (503, 429):
            self._without_retry_after += not response.has_retry_after
            self._refused.append((now, now - due))
        else:
            self._failed[f"status {response.status}"] += 1

    def _fault(self, place: int, version: int, results: list[dict[str, Any]]) -> str | None:
        if not self._plan.expected:
            return None
        expected = self._plan.expected.get(version)
        return "unknown version" if expected is None else expected.fault(place, results)

    def _is_over(self) -> bool:
        until = self._plan.until
        return self._now() >= self._plan.seconds or (until is not None and until.exists())

    def _now(self) -> float:
        return time.perf_counter() - self._started


def _answered(ended: list[tuple[float, float]]) -> Answered:
    ended.sort()
    return Answered([seconds for _, seconds in ended], [when for when, _ in ended])
