"""Everything that `/metrics` shows, in a registry of its own: several apps fit in one process.

Names follow Prometheus' conventions; docs/operations.md has the table of them, which a test holds
to what is registered here. What is known beforehand (codes, stages) is there from the start with
zeros: a rate over a series that appears with its first event misses that event.
"""

from collections.abc import Iterator
from typing import Literal, TypeAlias, get_args

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.pairs.batching import BatchReport
from service.pairs.serving import Serving
from service.problems import PROBLEMS
from service.traffic.admission import STAGES, Admission

__all__ = ["Metrics"]

# From a millisecond to the deadline; a queue that is full shows between the last ones.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
BATCH_STAGES = ("encode", "search")
# A client may call its method anything; each new label would be a series that is kept for ever.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
QUERY_KINDS = ("text", "image")
# Of a connection beyond --max-connections: another one made way for it, or it was refused.
FullOutcome: TypeAlias = Literal["made_way", "refused"]
# Of the file of keys, read again; where it is refused the keys read before stay valid.
KeysOutcome: TypeAlias = Literal["reloaded", "refused"]


class Metrics:
    """Counts what happens, and reads what is when it is asked."""

    def __init__(self) -> None:
        # One more series for each counter and bucket, which says when it was made.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "hrem_requests",
            "Requests answered",
            ("route", "method", "status"),
            registry=self.registry,
        )
        self._running = Gauge(
            "hrem_requests_running", "Requests not answered yet", registry=self.registry
        )
        self._problems = Counter(
            "hrem_problems",
            "Requests not answered as asked, by problem",
            ("code",),
            registry=self.registry,
        )
        self._full = Counter(
            "hrem_connections_when_full",
            "Connections that came when --max-connections were open, by what became of that",
            ("outcome",),
            registry=self.registry,
        )
        self._keys_reloads = Counter(
            "hrem_keys_reloads",
            "Attempts to read the file of keys again",
            ("outcome",),
            registry=self.registry,
        )
        self._is_last_keys_reload_ok = Gauge(
            "hrem_last_keys_reload_ok",
            "0 if the file of keys was refused when it was read last, else 1",
            registry=self.registry,
        )
        self._is_last_keys_reload_ok.set(1)
        self._request_seconds = Histogram(
            "hrem_request_seconds",
            "Time to answer",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queries = Counter(
            "hrem_queries", "Queries answered", ("kind",), registry=self.registry
        )
        self._stage_seconds = Histogram(
            "hrem_stage_seconds",
            "Time that an answered search spent in each stage",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batch_items = Histogram(
            "hrem_batch_items",
            "Items that went through a stage together",
            ("stage",),
            buckets=BATCH_ITEMS,
            registry=self.registry,
        )
        self._batch_seconds = Histogram(
            "hrem_batch_seconds",
            "Time of the owner thread for a batch",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._ready = Gauge(
            "hrem_ready", "1 if a query would be answered now, else 0", registry=self.registry
        )
        self._begin_with_zeros()

    def _begin_with_zeros(self) -> None:
        for code in PROBLEMS:
            self._problems.labels(code)
        for outcome in get_args(FullOutcome):
            self._full.labels(outcome)
        for keys_outcome in get_args(KeysOutcome):
            self._keys_reloads.labels(keys_outcome)
        for kind in QUERY_KINDS:
            self._queries.labels(kind)
        for stage in (*STAGES, "total"):
            self._stage_seconds.labels(stage)
        for stage in BATCH_STAGES:
            self._batch_items.labels(stage)
            self._batch_seconds.labels(stage)

    def watch(self, serving: Serving, admission: Admission) -> None:
        """Show what is served and what is waiting, as it is whenever somebody looks."""
        self.registry.register(_Served(serving, admission))

    def begin_request(self) -> None:
        """Count a request that has come; `count_request` counts its end."""
        self._running.inc()

    def count_request(
        self, *, route: str, method: str, status: int, seconds: float, problem: str | None
    ) -> None:
        """Count one answered request."""
        self._running.dec()
        method = method if method in METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        if problem is not None:
            self.count_problem(problem)

    def count_problem(self, code: str) -> None:
        """Count what was not answered as asked."""
        self._problems.labels(code).inc()

    def count_full(self, outcome: FullOutcome) -> None:
        """Count a connection that came when as many as may be were open."""
        self._full.labels(outcome).inc()

    def count_keys_reload(self, outcome: KeysOutcome) -> None:
        """Count an attempt to read the file of keys again."""
        self._keys_reloads.labels(outcome).inc()
        self._is_last_keys_reload_ok.set(outcome == "reloaded")

    def count_queries(self, kind: str, count: int, timing_ms: dict[str, float]) -> None:
        """Count the answered queries of a search and the time of its stages."""
        self._queries.labels(kind).inc(count)
        for stage, milliseconds in timing_ms.items():
            self._stage_seconds.labels(stage).observe(milliseconds / 1000)

    def observe_batch(self, report: BatchReport) -> None:
        """Take a batch into account; called on the thread that ran it."""
        self._batch_items.labels(report.stage).observe(report.item_count)
        self._batch_seconds.labels(report.stage).observe(report.seconds)

    def exposition(self, *, is_ready: bool) -> bytes:
        """Return all metrics in Prometheus' text format.

        Args:
            is_ready: Whether a query would be answered now.
        """
        self._ready.set(is_ready)
        return generate_latest(self.registry)


class _Served(Collector):
    """What is served and what waits for it, as it is at the moment of the question."""

    def __init__(self, serving: Serving, admission: Admission) -> None:
        self._serving = serving
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        pair = self._serving.current
        served, admission = pair.served, self._admission
        yield _gauge("waiting_items", "Items in work or waiting", admission.waiting_items)
        yield _gauge(
            "waiting_items_limit",
            "Items that may be in work or waiting now; more is refused",
            admission.limit,
        )
        yield _gauge("index_version", "Served index version", served.version)
        yield _gauge(
            "index_created_timestamp_seconds",
            "When the served index version was made, in seconds since 1970",
            pair.index.record.created_at.timestamp(),
        )
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
        for name, gallery in pair.galleries.items():
            items.add_metric((name,), 0 if gallery is None else gallery.count)
            if gallery is not None:
                index = gallery.manifest.index
                recall.add_metric((name, index.kind), index.recall_at_10)
        yield items
        yield recall
        reloads = CounterMetricFamily(
            "hrem_reloads", "Attempts to serve another index or checkpoint", labels=("outcome",)
        )
        for outcome, count in self._serving.reload_counts.items():
            reloads.add_metric((outcome,), count)
        yield reloads
        yield _gauge(
            "last_reload_ok",
            "0 if the last attempt to serve another index or checkpoint was refused, else 1",
            self._serving.is_last_reload_ok,
        )


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"hrem_{name}", text, value=value)
