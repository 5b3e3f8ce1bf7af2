"""The real service in its own process under load from another: how every request ends.

No figure of time is asserted, only counts and answers; `python -m benchmarks.service_load` runs
the same code at full size and compares speeds.
"""

import json
from pathlib import Path

import httpx
import pytest

from benchmarks.bare_queries import BareQueries
from benchmarks.load_generator import Expected, LoadReport
from benchmarks.running_service import RunningService
from benchmarks.service_bounds import markdown
from benchmarks.service_load import (
    Cores,
    ServiceLoadBenchmark,
    bare_scores,
    ensured_index,
    measure,
)
from tests.load.conftest import TINY, Load

Scores = dict[int, list[list[float]]]


@pytest.fixture(scope="module")
def scores(index: Path, captions: list[str], cores: Cores) -> Scores:
    """What the bare network and index answer to some of the captions, each alone."""
    with BareQueries(index, core=cores.service) as bare:
        return bare_scores(bare, captions)


def check_all_accepted(report: LoadReport) -> None:
    assert report.failed == {}
    assert len(report.accepted) == report.sent > 0


def test_captions_are_told_apart_by_the_scores_of_their_answers(scores: Scores) -> None:
    different = {tuple(round(score, 4) for score in hits) for (hits,) in scores.values()}
    assert len(different) == len(scores) > 100


@pytest.mark.parametrize("clients", [1, 16])
def test_every_client_gets_the_answer_of_the_bare_network_and_index(
    load: Load, captions: list[str], scores: Scores, clients: int
) -> None:
    bodies = [{"query": caption} for caption in captions]
    # Whatever is asked first was not asked before, so it is encoded in batches of all clients.
    report = load(bodies, seconds=2, clients=clients, first=clients, expected={1: Expected(scores)})
    check_all_accepted(report)
    assert len(report.refused) == 0
    assert report.versions == {1: report.sent}


def test_too_much_is_refused_with_retry_after_and_what_was_accepted_is_answered_rightly(
    load: Load, service: RunningService, captions: list[str], scores: Scores
) -> None:
    # Each request would fill the queue of 32 alone, so that 64 clients are always too many.
    known = list(scores)
    groups = [known[start : start + 32] for start in range(0, 128, 32)]
    bodies = [{"query": [captions[place] for place in group]} for group in groups]
    expected = {
        number: [scores[place][0] for place in group] for number, group in enumerate(groups)
    }
    report = load(bodies, seconds=3, clients=64, expected={1: Expected(expected)})
    assert report.failed == {}
    assert report.without_retry_after == 0
    assert len(report.refused) > len(report.accepted) > 0
    assert report.sent == len(report.accepted) + len(report.refused)
    # Nothing is left behind: the queue is empty and the next query is answered.
    assert "\nhrem_waiting_items 0.0\n" in httpx.get(f"{service.url}/metrics").text
    assert httpx.get(f"{service.url}/health/ready").status_code == 200
    check_all_accepted(load([{"query": captions[0]}], seconds=0.5, clients=1))


def test_large_and_small_requests_are_answered_beside_each_other(
    load: Load, captions: list[str], scores: Scores
) -> None:
    known = list(scores)
    large = {"query": [captions[place] for place in known[:20]]}
    bodies = [large, *({"query": captions[place]} for place in known[:7])]
    expected = {0: [scores[place][0] for place in known[:20]]}
    expected |= {number: scores[place] for number, place in enumerate(known[:7], 1)}
    report = load(bodies, seconds=2, clients=4, expected={1: Expected(expected)})
    assert report.failed == {}
    assert len(report.accepted) > len(bodies)


def test_the_benchmark_at_a_small_size_loses_no_request(folder: Path) -> None:
    # Twice as much as it can answer: a tiny network answers more than a busy machine can send.
    asked = ServiceLoadBenchmark(
        count=2000, clients=8, batch_sizes=(4, 8), max_waiting_items=32, query_timeout_ms=60_000,
        overload=2, overload_s=2, round_s=1, rounds=1, singles=20,
    )  # fmt: skip
    figures = measure(ensured_index(folder, "bigru", count=2000, size=TINY), asked, size=TINY)
    over = figures["overload"]
    assert over["sent"] == over["accepted"] + over["refused"] + sum(over["failed"].values())
    assert over["failed"] == {}
    assert over["without_retry_after"] == over["failed_afterwards"] == 0
    assert figures["one_client"]["not_answered"] == figures["many_clients"]["not_answered"] == 0
    table = markdown({"bigru": figures})
    assert f"| overload: accepted | {over['accepted']:,} |" in table
    json.dumps(figures)
