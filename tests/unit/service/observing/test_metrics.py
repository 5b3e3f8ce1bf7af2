"""Names and values of `/metrics`; the table in docs/operations.md is held to them."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.observing.metrics import Metrics
from service.pairs.batching import BatchReport
from service.problems import PROBLEMS

pytestmark = pytest.mark.anyio
OPERATIONS = Path(__file__).parents[4] / "docs" / "operations.md"


async def families(client: httpx.AsyncClient) -> list[Metric]:
    return list(text_string_to_metric_families((await client.get("/metrics")).text))


def ours(found: list[Metric]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Name, kind and labels of every metric of the service's own."""
    for family in found:
        if family.name.startswith("hrem_"):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = {label for sample in family.samples for label in sample.labels} - {"le"}
            yield name, family.type, frozenset(labels)


async def value(client: httpx.AsyncClient, name: str, **labels: str) -> float:
    for family in await families(client):
        for sample in family.samples:
            if (sample.name, sample.labels) == (name, labels):
                return sample.value
    raise AssertionError(f"no {name} {labels}")


async def test_the_table_of_metrics_is_what_the_service_shows(client: httpx.AsyncClient) -> None:
    await client.post("/search/text", json={"query": "red"})
    rows = re.findall(
        r"^\| `(hrem_\w+)` \| (\w+) \|([^|]*)\|", OPERATIONS.read_text(), re.MULTILINE
    )
    told = {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert told == set(ours(await families(client)))


async def test_names_follow_the_conventions_of_prometheus(client: httpx.AsyncClient) -> None:
    for name, kind, _ in ours(await families(client)):
        assert name.endswith("_total") == (kind == "counter")
        assert not name.endswith(("_ms", "_milliseconds", "_created"))


async def test_what_is_known_beforehand_begins_with_zero(client: httpx.AsyncClient) -> None:
    for code in PROBLEMS:
        assert await value(client, "hrem_problems_total", code=code) >= 0
    for outcome in ("changed", "unchanged", "refused"):
        assert await value(client, "hrem_reloads_total", outcome=outcome) == 0
    for outcome in ("reloaded", "refused"):
        assert await value(client, "hrem_keys_reloads_total", outcome=outcome) == 0


async def test_batches_are_counted_by_stage_with_their_items(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    names = [f"hrem_batch_{what}" for what in ("items_sum", "items_count", "seconds_sum")]
    before = [await value(client, name, stage="encode") for name in names]
    metrics: Metrics = app.state.served.metrics
    for item_count, seconds in ((12, 0.25), (4, 0.5)):
        metrics.observe_batch(BatchReport("encode", item_count, 2, seconds))
    after = [await value(client, name, stage="encode") for name in names]
    assert [late - early for early, late in zip(before, after, strict=True)] == [16, 2, 0.75]


async def test_a_query_goes_through_a_batch_of_encoding_and_one_of_searching(
    client: httpx.AsyncClient,
) -> None:
    counts = [("hrem_batch_items_sum", stage) for stage in ("encode", "search")]
    before = [await value(client, name, stage=stage) for name, stage in counts]
    await client.post("/search/text", json={"query": ["never", "asked", "before"]})
    after = [await value(client, name, stage=stage) for name, stage in counts]
    assert [late - early for early, late in zip(before, after, strict=True)] == [3, 3]


async def test_a_running_request_is_counted_until_it_ends(client: httpx.AsyncClient) -> None:
    # The one that asks is running itself.
    assert await value(client, "hrem_requests_running") == 1
    await client.post("/search/text", content=b"{")
    assert await value(client, "hrem_requests_running") == 1


async def test_methods_that_clients_make_up_are_no_series_of_their_own(
    client: httpx.AsyncClient,
) -> None:
    for number in range(3):
        assert (await client.request(f"MADEUP{number}", "/info")).status_code == 405
    exposed = (await client.get("/metrics")).text
    assert "MADEUP" not in exposed
    labels = {"route": "/info", "method": "other", "status": "405"}
    assert await value(client, "hrem_requests_total", **labels) == 3


async def test_what_is_served_is_read_when_it_is_asked(
    client: httpx.AsyncClient, app: FastAPI
) -> None:
    info = (await client.get("/info")).json()
    labels = {
        "checkpoint": info["index"]["checkpoint"],
        "encoder": info["encoder"],
        "dim": str(info["dim"]),
    }
    assert await value(client, "hrem_served_info", **labels) == 1
    assert await value(client, "hrem_index_version") == info["index"]["version"]
    assert await value(client, "hrem_gallery_recall_at_10", gallery="images", kind="exact") == 1
    admission = app.state.served.admission
    assert await value(client, "hrem_waiting_items_limit") == admission.max_waiting_items
    async with admission.admitted(5):
        assert await value(client, "hrem_waiting_items") == 5


async def test_the_memory_of_the_process_is_there(client: httpx.AsyncClient) -> None:
    assert await value(client, "process_resident_memory_bytes") > 10_000_000
