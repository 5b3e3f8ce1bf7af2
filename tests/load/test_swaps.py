"""Two indexes with disjoint ids, each with a checkpoint of its own, swapped under load.

`make swaps` swaps 100 times.
"""

import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from benchmarks.bare_queries import BareQueries
from benchmarks.load_generator import Expected, LoadPlan, LoadReport, generate
from benchmarks.made_up_index import made_up_captions, write_checkpoint, write_made_up_index
from benchmarks.running_service import running_service
from benchmarks.service_load import processor_cores
from benchmarks.stopwatch import in_fresh_process
from tests.load.conftest import TINY

SWAP_COUNT = int(os.environ.get("HREM_SWAP_COUNT", "10"))
COUNT = 1000
KEY = "operator-key-0123456789"
SHOWN = {"Authorization": f"Bearer {KEY}"}
# One who may swap, as often as the load likes.
KEYS = f"""
[[keys]]
name = "operator"
key = "{KEY}"
admin = true
rate_per_minute = 100_000_000
burst = 100_000_000
"""


@dataclass(frozen=True)
class Side:
    """One of the two indexes."""

    index: Path
    version: int
    expected: Expected


def write_side(folder: Path, prefix: str, *, version: int, seed: int) -> Path:
    checkpoint = write_checkpoint(folder / f"network-{prefix}", "bigru", TINY, seed=seed)
    index = folder / f"index-{prefix}"
    # Whoever pages by version must not get both, so a service serves different numbers only.
    for number in range(1, version):
        write_made_up_index(index, checkpoint, count=100, prefix=f"old{number}")
    assert write_made_up_index(index, checkpoint, count=COUNT, prefix=prefix) == version
    return index


@pytest.fixture(scope="module")
def captions() -> list[str]:
    return made_up_captions(64, TINY, seed=1)


@pytest.fixture(scope="module")
def sides(folder: Path, captions: list[str]) -> list[Side]:
    found = []
    for version, prefix in ((1, "a"), (2, "b")):
        index = write_side(folder, prefix, version=version, seed=version)
        with BareQueries(index) as bare:
            scores = {place: bare.scores([caption]) for place, caption in enumerate(captions)}
        found.append(Side(index, version, Expected(scores, prefix)))
    return found


def value(url: str, metric: str) -> float:
    for line in httpx.get(f"{url}/metrics", headers=SHOWN).text.splitlines():
        if line.startswith(f"{metric} "):
            return float(line.split()[-1])
    raise AssertionError(f"no {metric}")


def open_files_at_rest(url: str) -> Iterator[float]:
    """How many files the service has open, again and again while pairs are closed."""
    for _ in range(100):
        yield value(url, "process_open_fds")
        time.sleep(0.1)


def test_the_two_sides_answer_the_same_queries_differently(sides: list[Side]) -> None:
    ours, theirs = (side.expected.scores for side in sides)
    for place in ours:
        pairs = zip(ours[place][0], theirs[place][0], strict=True)
        assert any(abs(a - b) > 1e-3 for a, b in pairs)


def test_no_query_fails_and_no_answer_is_mixed_while_index_and_checkpoint_are_swapped(
    sides: list[Side], captions: list[str], folder: Path
) -> None:
    cores = processor_cores()
    enough = folder / "enough-swaps"
    bodies = [json.dumps({"query": caption}).encode() for caption in captions]
    first, second = sides
    log = folder / "swaps-log"
    keys = folder / "swaps-keys.toml"
    keys.write_text(KEYS)
    settings = ("--device", "cpu", "--query-timeout-ms", "60000", "--keys", str(keys))
    with (
        running_service(first.index, *settings, log=log, core=cores.service) as service,
        httpx.Client(base_url=service.url, timeout=60, headers=SHOWN) as operator,
        ThreadPoolExecutor(1) as threads,
    ):

        def serve(side: Side) -> None:
            answer = operator.post("/admin/reload", json={"index": str(side.index)})
            assert answer.status_code == 200, answer.text
            assert answer.json()["index"]["version"] == side.version
            assert answer.json()["changed"]

        # Both pairs are open from here on, as they are after every later swap.
        serve(second)
        files_before = value(service.url, "process_open_fds")
        plan = LoadPlan(
            service.url,
            bodies,
            seconds=3600,
            clients=8,
            core=cores.generator,
            expected={side.version: side.expected for side in sides},
            until=enough,
            key=KEY,
        )
        loading = threads.submit(in_fresh_process, generate, plan)
        try:
            for number in range(SWAP_COUNT):
                serve(sides[number % 2])
        finally:
            enough.touch()
        report: LoadReport = loading.result()
        assert value(service.url, 'hrem_reloads_total{outcome="changed"}') == SWAP_COUNT + 1
        # What was replaced is closed: its files do not pile up.
        assert any(count <= files_before + 12 for count in open_files_at_rest(service.url))
    assert report.failed == {}
    assert len(report.refused) == 0
    assert len(report.accepted) == report.sent == sum(report.versions.values())
    assert set(report.versions) == {1, 2}
    assert min(report.versions.values()) >= SWAP_COUNT // 2
