"""What the people who run the service see: request ids, access log, metrics.

- One JSON line on stderr for each request: when, which route, how it ended, how long it took.
  Neither query texts nor pictures nor query strings are ever logged.
- Prometheus metrics in a registry of their own, so that several apps fit in one process.
- An exception that nobody foresaw is logged with its traceback and answered as a bare 500 problem.
"""

import json
import logging
import re
import sys
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from index_builder.manifest import GalleryKind
from service.admission import Admission
from service.batching import BatchReport
from service.problems import Problem, answer_problem
from service.serving import Serving

__all__ = ["Metrics", "ObservedRequests", "log_as_json"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCH_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)
CLIENT_CLOSED_REQUEST = 499

access_log = logging.getLogger("service.access")
error_log = logging.getLogger("service.errors")


class Metrics:
    """Everything that `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._requests = Counter(
            "hrem_requests", "Requests", ("route", "method", "status"), registry=self.registry
        )
        self._problems = Counter(
            "hrem_problems", "Refused requests by problem", ("code",), registry=self.registry
        )
        self._request_seconds = Histogram(
            "hrem_request_seconds",
            "Time to answer",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._stage_seconds = Histogram(
            "hrem_stage_seconds",
            "Stages of searches",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self._queries = Counter(
            "hrem_queries", "Answered queries", ("kind",), registry=self.registry
        )
        self._batch_items = Histogram(
            "hrem_batch_items",
            "Queries that shared a batch",
            ("stage",),
            buckets=BATCH_ITEMS,
            registry=self.registry,
        )

    def watch(self, serving: Serving, admission: Admission) -> None:
        """Show what is served and what is waiting, as it is whenever somebody looks."""
        self._gauge(
            "hrem_waiting_items",
            "Queries and pictures in work or waiting",
            lambda: admission.waiting_items,
        )
        self._gauge(
            "hrem_index_version",
            "Served index version",
            lambda: serving.current.served.version,
        )
        items = Gauge("hrem_items", "Indexed items", ("gallery",), registry=self.registry)
        for kind in serving.current.galleries:
            items.labels(kind).set_function(partial(_item_count, serving, kind))

    def observe_batch(self, report: BatchReport) -> None:
        """Take a batch into account; called on the thread that ran it."""
        self._batch_items.labels(report.stage).observe(report.item_count)

    def _gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def count_queries(self, kind: str, count: int, timing_ms: dict[str, float]) -> None:
        """Count the answered queries of a search and the time of its stages."""
        self._queries.labels(kind).inc(count)
        for stage, milliseconds in timing_ms.items():
            self._stage_seconds.labels(stage).observe(milliseconds / 1000)

    def count_request(
        self, *, route: str, method: str, status: int, seconds: float, problem: str | None
    ) -> None:
        """Count one answered request."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        if problem is not None:
            self._problems.labels(problem).inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _item_count(serving: Serving, kind: GalleryKind) -> int:
    gallery = serving.current.galleries[kind]
    return 0 if gallery is None else gallery.count


class ObservedRequests:
    """ASGI middleware: gives every request an id, logs and counts it, and catches what is left."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        started = time.perf_counter()
        status: int | None = None

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        except ClientDisconnect:
            status = CLIENT_CLOSED_REQUEST
        except Exception:
            error_log.exception("request %s failed", request_id)
            state["problem_code"] = "internal_error"
            if status is None:
                problem = Problem(
                    "internal_error", "this is a fault of the service; its log tells more"
                )
                await answer_problem(request_id, problem)(scope, receive, send_observed)
        finally:
            self._record(scope, status or CLIENT_CLOSED_REQUEST, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        problem = scope["state"].get("problem_code")
        self._metrics.count_request(
            route=route, method=scope["method"], status=status, seconds=seconds, problem=problem
        )
        client = scope.get("client")
        access_log.info(
            "request",
            extra={
                "fields": {
                    "request_id": scope["state"]["request_id"],
                    "method": scope["method"],
                    "route": route,
                    "status": status,
                    "code": problem,
                    "duration_ms": round(seconds * 1000, 2),
                    "client": client[0] if client else None,
                }
            },
        )


def _request_id(scope: Scope) -> str:
    """Return the caller's X-Request-ID if it is a plain one, else a new id."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", value):
            return str(value.decode())
    return uuid.uuid4().hex


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def log_as_json(*, with_requests: bool = True) -> None:
    """Send the service's and the server's logs to stderr, one JSON object a line.

    Args:
        with_requests: Every request has a line; failures are logged in any case.
    """
    access_log.disabled = not with_requests
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    for name, level in (("service", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
