"""The real service under load, against the bare network and index on the same core.

    python -m benchmarks.service_load
    python -m benchmarks.service_load --texts bigru --overload-s 10 --folder data/load

The service has one core and one thread, the load generator another core; the bare figures are
taken in turns with those of the service, by a process on the service's core that waits meanwhile.
The network is as large as BERT-base, its weights and the vectors are made up. What is accepted,
refused and failed is told apart; answers are compared with those of the bare network. No caption
is asked again while the service remembers it.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from benchmarks.bare_queries import BareQueries
from benchmarks.kept_connection import LoneClient
from benchmarks.load_generator import Expected, LoadPlan, LoadReport, generate
from benchmarks.made_up_index import (
    BASE,
    NetworkSize,
    made_up_captions,
    write_checkpoint,
    write_made_up_index,
)
from benchmarks.running_service import MemoryWatch, RunningService, running_service
from benchmarks.service_bounds import bounds, markdown
from benchmarks.stopwatch import MIB, in_fresh_process, machine, machine_line
from model import console
from model.command_line import Command, run_command

_WARM_UP_S = 3.0
# None is asked twice: the service keeps the embeddings of the last 2,048 that it answered.
CAPTION_COUNT = 131_072
# So many answers are compared with the bare ones.
_COMPARED = 256


class ServiceLoadBenchmark(Command):
    """Load the real service and compare it with the bare network and index."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.service_load",
        "python -m benchmarks.service_load --texts bigru --overload-s 10 --folder data/load",
    )

    texts: tuple[Literal["bert", "bigru"], ...] = Field(
        ("bert", "bigru"), description="word encoders"
    )
    count: int = Field(100_000, ge=100, description="items of the gallery")
    singles: int = Field(200, ge=1, description="queries of the one client")
    clients: int = Field(64, ge=1, description="of the closed loop")
    batch_sizes: tuple[int, ...] = Field(
        (8, 16, 32, 64, 128), description="of the bare network; the best one counts"
    )
    max_waiting_items: int = Field(64, ge=32, description="the service's queue limit")
    max_batch_items: int = Field(32, ge=1, description="of the service's shared batches")
    query_timeout_ms: int = Field(10_000, ge=1, description="the service's deadline of a query")
    overload: float = Field(10.0, gt=1, description="times the bare throughput that is sent")
    overload_s: float = Field(60.0, gt=0, description="how long")
    round_s: float = Field(15.0, gt=0, description="seconds of each closed loop and bare batches")
    rounds: int = Field(3, ge=1, description="how often service and bare figures take turns")
    folder: Path | None = Field(
        None, description="where indexes are written, or found; default: a temporary folder"
    )

    def run(self) -> int:
        """Print what the service adds to the bare figures; 1 if a bound is missed."""
        found = machine()
        with ExitStack() as stack:
            folder = self.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            measured = {
                text: measure(ensured_index(folder, text, count=self.count), self)
                for text in self.texts
            }
        if self.json_output:
            settings = self.model_dump(mode="json")
            console.result_json({"machine": found, "settings": settings, "measured": measured})
        # With --json both are wanted of a run that takes minutes: the table goes to stderr then.
        show = console.say if self.json_output else console.result
        show(f"{machine_line(found)}\n\n{markdown(measured)}")
        missed = [
            f"{text}: {one}" for text, figures in measured.items() for one in figures["missed"]
        ]
        for one in missed:
            console.warn(f"missed: {one}")
        return 1 if missed else 0


def ensured_index(folder: Path, text: str, *, count: int, size: NetworkSize = BASE) -> Path:
    """Return an index in `folder` with that word encoder and so many items; write it if needed."""
    index = folder / f"{text}-{size.hidden}-{count}"
    if not (index / "current").is_file():
        console.say(f"writing  {count:,} items and a network with {text}")
        checkpoint = write_checkpoint(folder / f"{text}-{size.hidden}", text, size)  # type: ignore[arg-type]
        write_made_up_index(index, checkpoint, count=count)
    return index


def measure(
    index: Path, asked: ServiceLoadBenchmark, *, size: NetworkSize = BASE
) -> dict[str, Any]:
    """Return all figures of one index, and the names of bounds that were missed."""
    cores = processor_cores()
    captions = made_up_captions(CAPTION_COUNT, size)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        bare = stack.enter_context(BareQueries(index, core=cores.service))
        settings = {
            "max-waiting-items": asked.max_waiting_items,
            # An open loop has a connection for every request that waits.
            "max-connections": 8_000,
            "max-batch-items": asked.max_batch_items,
            "query-timeout-ms": asked.query_timeout_ms,
            "device": "cpu",
        }
        service = stack.enter_context(
            running_service(
                index,
                *(f"--{name}={value}" for name, value in settings.items()),
                log=Path(name) / "log",
                core=cores.service,
            )
        )
        expected = {1: Expected(bare_scores(bare, captions))}
        load = _Loads(service, captions, expected, cores.generator)
        load.closed(1, _WARM_UP_S)
        console.say("one client")
        figures = _one_client(bare, load, asked, cores)
        console.say(f"{asked.clients} clients")
        figures |= _many_clients(bare, load, asked)
        console.say(f"{asked.overload:g} times as much as it can answer, {asked.overload_s:g} s")
        figures |= _overload(load, asked, figures)
        figures["index"] = {"items": asked.count, "start_s": service.start_s}
    return figures | {"missed": [bound.name for bound in bounds(figures) if not bound.is_met]}


@dataclass(frozen=True)
class Cores:
    """Which processor cores are used; None = all of them, where there is only one."""

    service: int | None
    generator: int | None


def processor_cores() -> Cores:
    """Return a core for the service and another for the load."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return Cores(cores[0], cores[1]) if len(cores) > 1 else Cores(None, None)


@dataclass
class _Loads:
    """Loads of one service; each goes on in the captions where the one before ended."""

    service: RunningService
    captions: list[str]
    expected: dict[int, Expected]
    core: int | None
    sent: int = 0

    def closed(self, clients: int, seconds: float) -> LoadReport:
        return self._report(clients=clients, seconds=seconds)

    def open(self, rate: float, seconds: float) -> LoadReport:
        return self._report(rate=rate, seconds=seconds)

    def next_captions(self, count: int) -> list[str]:
        """Return the next ones, to be asked by the caller."""
        places = range(self.sent, self.sent + count)
        self.sent += count
        return [self.captions[place % len(self.captions)] for place in places]

    def _report(self, **how: Any) -> LoadReport:
        bodies = [json.dumps({"query": caption}).encode() for caption in self.captions]
        plan = LoadPlan(
            self.service.url,
            bodies,
            first=self.sent % len(bodies),
            core=self.core,
            expected=self.expected,
            **how,
        )
        report: LoadReport = in_fresh_process(generate, plan)
        self.sent += report.sent
        return report


def bare_scores(bare: BareQueries, captions: list[str]) -> dict[int, list[list[float]]]:
    """Return the scores of the hits of some of the captions, each asked alone."""
    places = range(0, len(captions), max(1, len(captions) // _COMPARED))
    return {place: bare.scores([captions[place]]) for place in places}


def _one_client(
    bare: BareQueries, load: _Loads, asked: ServiceLoadBenchmark, cores: Cores
) -> dict[str, Any]:
    # Processors change their speed by more than a service adds, so the two take turns query by
    # query, with the same ones.
    bare_s: list[float] = []
    served_s: list[float] = []
    costs: list[dict[str, float]] = []
    with _on_core(cores.generator), LoneClient(load.service.url) as client:
        for caption in load.next_captions(asked.singles):
            bare_s += bare.one_by_one([caption])
            response, seconds = client.ask(json.dumps({"query": caption}).encode())
            served_s.append(seconds)
            if response.status == 200:
                costs.append(_costs_ms(1000 * seconds, json.loads(response.content)["timing_ms"]))
    bare_ms, served_ms = (1000 * statistics.median(side) for side in (bare_s, served_s))
    return {
        "one_client": {
            "queries": asked.singles,
            "bare_p50_ms": bare_ms,
            "served_p50_ms": served_ms,
            "added_ms": served_ms - bare_ms,
            "of_it_ms": {
                name: statistics.median(one[name] for one in costs) if costs else float("nan")
                for name in ("http", "hand_overs", "items")
            },
            "not_answered": asked.singles - len(costs),
        }
    }


def _costs_ms(seen: float, timing: dict[str, float]) -> dict[str, float]:
    """Return what a query cost beside encoding and search, by what client and service timed."""
    worked = timing["decode"] + timing["encode"] + timing["search"] + timing["fetch"]
    return {
        "http": seen - timing["total"],
        "hand_overs": timing["total"] - worked,
        "items": timing["fetch"],
    }


@contextmanager
def _on_core(core: int | None) -> Iterator[None]:
    """Keep this process on a core for the time of a block."""
    before = os.sched_getaffinity(0) if core is not None else set()
    if core is not None:
        os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        if core is not None:
            os.sched_setaffinity(0, before)


def _many_clients(bare: BareQueries, load: _Loads, asked: ServiceLoadBenchmark) -> dict[str, Any]:
    by_size = {
        size: bare.batched(load.captions, size, asked.round_s / 4) for size in asked.batch_sizes
    }
    best = max(by_size, key=lambda size: by_size[size])
    bare_rates, served_rates, p99_s, failed = [], [], [], 0
    for _ in range(asked.rounds):
        bare_rates.append(bare.batched(load.captions, best, asked.round_s))
        report = load.closed(asked.clients, asked.round_s)
        served_rates.append(report.accepted.rate(skip=asked.clients))
        p99_s.append(report.accepted.quantile(0.99))
        failed += report.sent - len(report.accepted)
    shares = [served / alone for served, alone in zip(served_rates, bare_rates, strict=True)]
    return {
        "many_clients": {
            "clients": asked.clients,
            "bare_rate_of_batch_size": by_size,
            "bare_batch_size": best,
            "bare_rate": statistics.median(bare_rates),
            "served_rate": statistics.median(served_rates),
            "served_over_bare": statistics.median(shares),
            "p99_s": statistics.median(p99_s),
            "not_answered": failed,
        }
    }


def _overload(load: _Loads, asked: ServiceLoadBenchmark, before: dict[str, Any]) -> dict[str, Any]:
    bare_rate = before["many_clients"]["bare_rate"]
    with MemoryWatch(load.service) as memory:
        report = load.open(asked.overload * bare_rate, asked.overload_s)
    ended = max([*report.accepted.finished, *report.refused.finished])
    after = load.closed(asked.clients, asked.round_s)
    after_rate = len(after.accepted) / max([asked.round_s, *after.accepted.finished])
    full_queue_s = asked.max_waiting_items / bare_rate
    return {
        "overload": {
            "queue_limit": asked.max_waiting_items,
            "sent": report.sent,
            "sent_rate": report.sent / asked.overload_s,
            "accepted": len(report.accepted),
            "refused": len(report.refused),
            "failed": report.failed,
            "without_retry_after": report.without_retry_after,
            "accepted_over_bare": len(report.accepted) / ended / bare_rate,
            "accepted_p50_s": report.accepted.quantile(0.5),
            "accepted_p99_s": report.accepted.quantile(0.99),
            "p99_over_full_queue": report.accepted.quantile(0.99) / full_queue_s,
            "refused_p50_ms": 1000 * report.refused.quantile(0.5),
            "refused_p99_ms": 1000 * report.refused.quantile(0.99),
            "sent_late_p99_ms": 1000 * report.lateness,
            "answered_after_s": max(0.0, ended - asked.overload_s),
            "speed_afterwards": after_rate / before["many_clients"]["served_rate"],
            "failed_afterwards": after.sent - len(after.accepted),
            "resident_before_mib": memory.before_bytes / MIB,
            "resident_growth_mib": memory.growth_bytes / MIB,
            "resident_after_mib": memory.after_bytes / MIB,
        }
    }


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.service_load", ServiceLoadBenchmark))
