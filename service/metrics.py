"""Everything that `/metrics` shows, in a registry of its own: several apps fit in one process.

Names follow Prometheus' conventions; docs/operations.md has the table of them, which a test holds
to what is registered here. What is known beforehand (codes, stages) is there from the start with
zeros: a rate over a series that appears with its first event misses that event.
"""

from collections.abc import Iterator
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.problems import PROBLEMS
from service.retriever import Retriever
from service.workers import STAGES

__all__ = ["BATCH_STAGES", "Metrics", "ReloadOutcome"]

ReloadOutcome = Literal["swapped", "unchanged", "refused"]

# From a millisecond to the deadline; a queue that is full shows between the last ones.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCH_STAGES = ("encode", "search")
_QUERY_KINDS = ("text", "image")
_RELOAD_OUTCOMES: tuple[ReloadOutcome, ...] = ("swapped", "unchanged", "refused")


class Metrics:
    """Counts what happens, and reads what is when it is asked."""

    def __init__(self, retriever: Retriever) -> None:
        # One more series for each counter and bucket, which says when it was made.
        disable_created_metrics()
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.registry.register(_Served(retriever))
        self._requests = Counter(
            "hrem_requests", "Requests answered", ("route", "method", "status"), **self._here
        )
        self._running = Gauge("hrem_requests_running", "Requests not answered yet", **self._here)
        self._problems = Counter(
            "hrem_problems", "Requests not answered as asked, by problem", ("code",), **self._here
        )
        self._request_seconds = Histogram(
            "hrem_request_seconds", "Time to answer", ("route",), buckets=SECONDS, **self._here
        )
        self._queries = Counter("hrem_queries", "Queries answered", ("kind",), **self._here)
        self._stage_seconds = Histogram(
            "hrem_stage_seconds",
            "Time that an answered search spent in each stage",
            ("stage",),
            buckets=SECONDS,
            **self._here,
        )
        self._batch_items = Histogram(
            "hrem_batch_items",
            "Items that went through a stage together",
            ("stage",),
            buckets=BATCH_ITEMS,
            **self._here,
        )
        self._batch_seconds = Histogram(
            "hrem_batch_seconds",
            "Time of the owner thread for a batch",
            ("stage",),
            buckets=SECONDS,
            **self._here,
        )
        self._reloads = Counter(
            "hrem_reloads",
            "Attempts to serve another index or checkpoint",
            ("outcome",),
            **self._here,
        )
        self._begin_with_zeros()

    @property
    def _here(self) -> dict[str, CollectorRegistry]:
        return {"registry": self.registry}

    def _begin_with_zeros(self) -> None:
        for code in PROBLEMS:
            self._problems.labels(code)
        for kind in _QUERY_KINDS:
            self._queries.labels(kind)
        for stage in (*STAGES, "total"):
            self._stage_seconds.labels(stage)
        for stage in BATCH_STAGES:
            self._batch_items.labels(stage)
            self._batch_seconds.labels(stage)
        for outcome in _RELOAD_OUTCOMES:
            self._reloads.labels(outcome)

    def begin_request(self) -> None:
        """Count a request that has come; `count_request` counts its end."""
        self._running.inc()

    def count_request(
        self, *, route: str, method: str, status: int, seconds: float, problem: str | None
    ) -> None:
        """Count one answered request."""
        self._running.dec()
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()

    def count_queries(self, kind: str, count: int, timing_ms: dict[str, float]) -> None:
        """Count the answered queries of a search and the time of its stages."""
        self._queries.labels(kind).inc(count)
        for stage, milliseconds in timing_ms.items():
            self._stage_seconds.labels(stage).observe(milliseconds / 1000)

    def count_batch(self, stage: str, item_count: int, seconds: float) -> None:
        """Count a batch of items that one thread worked on together; callable from any thread."""
        self._batch_items.labels(stage).observe(item_count)
        self._batch_seconds.labels(stage).observe(seconds)

    def count_reload(self, outcome: ReloadOutcome) -> None:
        """Count an attempt to serve another pair of index and checkpoint."""
        self._reloads.labels(outcome).inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class _Served(Collector):
    """What is served and what waits for it, as it is at the moment of the question."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def collect(self) -> Iterator[Metric]:
        served, workers = self._retriever.served, self._retriever.workers
        yield _gauge("waiting_items", "Items in work or waiting", workers.waiting_items)
        yield _gauge(
            "waiting_items_limit",
            "Items that may be in work or waiting; more is refused",
            workers.max_waiting_items,
        )
        yield _gauge("index_version", "Served index version", served.version)
        info = GaugeMetricFamily(
            "hrem_served_info",
            "1; the labels say what is served",
            labels=("checkpoint", "encoder", "dim"),
        )
        info.add_metric((served.fingerprint[:16], served.encoder, str(served.dim)), 1)
        yield info
        items = GaugeMetricFamily("hrem_items", "Items that can be found", labels=("gallery",))
        recall = GaugeMetricFamily(
            "hrem_gallery_recall_at_10",
            "Share of the exact first ten hits that the vector index finds, as measured when built",
            labels=("gallery", "kind"),
        )
        for name, gallery in self._retriever.galleries.items():
            items.add_metric((name,), 0 if gallery is None else gallery.count)
            if gallery is not None:
                index = gallery.manifest.index
                recall.add_metric((name, index.kind), index.recall_at_10)
        yield items
        yield recall


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"hrem_{name}", text, value=value)
