"""What happens to every request besides being answered: an id, a line in the log, a count.

- One line for each request: when, which route, how it ended, how long it took.
- An exception that nobody foresaw is logged with where it was raised and answered as a bare 500
  problem, whose `request_id` finds it in the log.
"""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Iterable

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import StoppingError
from service.observing.json_log import access_log, error_log
from service.observing.metrics import Metrics
from service.observing.route_names import RouteNames
from service.observing.untrusted_forwarding import UntrustedForwarding
from service.problems import Problem, answer_problem, overloaded

__all__ = ["ObservedRequests", "record_refusal", "record_request", "request_id_of"]

log = logging.getLogger("service.observing")

CLIENT_CLOSED_REQUEST = 499


class ObservedRequests:
    """ASGI middleware: gives every request an id, logs and counts it, and catches what is left."""

    def __init__(self, app: ASGIApp, metrics: Metrics, route_names: RouteNames) -> None:
        self._app = app
        self._metrics = metrics
        self._route_names = route_names
        self._forwarding = UntrustedForwarding()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._forwarding.watch(scope)
        request_id = request_id_of(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        started = time.perf_counter()
        self._metrics.begin_request()
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
        except asyncio.CancelledError:
            # The time to finish was over while the service stopped: nothing else cancels this.
            log.info("cut off by the stop", extra={"fields": {"request_id": request_id}})
            state["problem_code"] = "overloaded"
            if status is None:
                problem = overloaded(StoppingError())
                problem.headers["Connection"] = "close"
                await answer_problem(request_id, problem)(scope, receive, send_observed)
        except Exception:
            error_log.exception("a request failed", extra={"fields": {"request_id": request_id}})
            state["problem_code"] = "internal_error"
            if status is None:
                problem = Problem(
                    "internal_error", "this is a fault of the service; its log tells more"
                )
                await answer_problem(request_id, problem)(scope, receive, send_observed)
        finally:
            client = scope.get("client")
            record_request(
                self._metrics,
                request_id,
                method=scope["method"],
                route=self._route_names.of(scope),
                status=status or CLIENT_CLOSED_REQUEST,
                problem=state.get("problem_code"),
                seconds=time.perf_counter() - started,
                client=client[0] if client else None,
                key=state.get("key_name"),
            )


def record_request(
    metrics: Metrics, request_id: str, *, method: str, route: str, status: int,
    problem: str | None, seconds: float, client: str | None, key: str | None = None,
) -> None:  # fmt: skip
    """Count a request that was begun, and log it, now that it has ended."""
    metrics.count_request(
        route=route, method=method, status=status, seconds=seconds, problem=problem
    )
    access_log.info(
        "request",
        extra={
            "fields": {
                "request_id": request_id,
                "method": method,
                "route": route,
                "status": status,
                "code": problem,
                "duration_ms": round(seconds * 1000, 2),
                "client": client,
                "key": key,
            }
        },
    )


def record_refusal(
    metrics: Metrics, request_id: str, *, problem: Problem, client: str | None
) -> None:
    """Count and log what was refused before it was a request: there is no route or method yet."""
    metrics.count_problem(problem.code)
    access_log.info(
        "refused connection",
        extra={
            "fields": {
                "request_id": request_id,
                "status": problem.status,
                "code": problem.code,
                "client": client,
            }
        },
    )


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the caller's X-Request-ID if it is a plain one, else a new id.

    Args:
        headers: Names in lower case, and values.
    """
    for name, value in headers:
        if name == b"x-request-id" and re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", value):
            return str(value.decode())
    return uuid.uuid4().hex
