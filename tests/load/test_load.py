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
from benchmarks.service_load import Cores, ServiceLoadBenchmark, ensured_index, markdown, measure
from tests.load.conftest import TINY, Load


@pytest.fixture(scope="module")
def expected(index: Path, captions: list[str], cores: Cores) -> Expected:
    """What the bare network and index answer, each caption alone."""
    with BareQueries(index, core=cores.service) as bare:
        return Expected(scores=[bare.scores([caption]) for caption in captions])


def check_all_accepted(report: LoadReport) -> None:
    assert report.failed == {}
    assert len(report.accepted) == report.sent > 0


def test_captions_are_told_apart_by_the_scores_of_their_answers(expected: Expected) -> None:
    assert expected.scores is not None
    different = {tuple(round(score, 4) for score in scores[0]) for scores in expected.scores}
    assert len(different) == len(expected.scores)


@pytest.mark.parametrize("clients", [1, 16])
def test_every_client_gets_the_answer_of_the_bare_network_and_index(
    load: Load, captions: list[str], expected: Expected, clients: int
) -> None:
    bodies = [{"query": caption} for caption in captions]
    report = load(bodies, seconds=2, clients=clients, expected=expected)
    check_all_accepted(report)
    assert len(report.refused) == 0
    assert report.versions == {1: report.sent}


def test_too_much_is_refused_with_retry_after_and_what_was_accepted_is_answered_rightly(
    load: Load, service: RunningService, captions: list[str], expected: Expected
) -> None:
    assert expected.scores is not None
    # Each request would fill the queue of 32 alone, so that 64 clients are always too many.
    bodies = [{"query": captions[:32]}, {"query": captions[32:]}]
    scores = [
        [scores[0] for scores in expected.scores[:32]],
        [scores[0] for scores in expected.scores[32:]],
    ]
    report = load(bodies, seconds=3, clients=64, expected=Expected(scores=scores))
    assert report.failed == {}
    assert report.without_retry_after == 0
    assert len(report.refused) > len(report.accepted) > 0
    assert report.sent == len(report.accepted) + len(report.refused)
    # Nothing is left behind: the queue is empty and the next query is answered.
    metrics = httpx.get(f"{service.url}/metrics").text
    assert "\nhrem_waiting_items 0.0\n" in metrics
    assert httpx.get(f"{service.url}/health/ready").status_code == 200
    again = load([{"query": captions[0]}], seconds=0.5, clients=1)
    check_all_accepted(again)


def test_large_and_small_requests_are_all_answered_beside_each_other(
    load: Load, captions: list[str], expected: Expected
) -> None:
    assert expected.scores is not None
    large = {"query": captions[:20]}
    bodies = [large, *({"query": caption} for caption in captions[:7])]
    scores = [[one[0] for one in expected.scores[:20]], *expected.scores[:7]]
    report = load(bodies, seconds=2, clients=4, expected=Expected(scores=scores))
    assert report.failed == {}
    assert len(report.accepted) > len(bodies)


@pytest.mark.parametrize("text", ["bert", "bigru"])
def test_the_benchmark_at_a_small_size_loses_no_request(folder: Path, text: str) -> None:
    asked = ServiceLoadBenchmark(
        count=2000, clients=8, batch_sizes=(4, 8), max_waiting_items=32, query_timeout_ms=60_000,
        overload_s=2, round_s=1, rounds=1,
    )  # fmt: skip
    figures = measure(ensured_index(folder, text, count=2000, size=TINY), asked, size=TINY)
    over = figures["overload"]
    assert over["sent"] == over["accepted"] + over["refused"] + sum(over["failed"].values())
    assert over["failed"] == {}
    assert over["without_retry_after"] == over["failed_afterwards"] == 0
    assert figures["one_client"]["not_answered"] == figures["many_clients"]["not_answered"] == 0
    table = markdown({text: figures})
    assert f"| overload: accepted | {over['accepted']:,} |" in table
    json.dumps(figures)
