"""When to ask, when to wait and when to give up, apart from how that is done.

`exchange` is a generator: it yields an `Attempt` and is sent the response, or the exception of
httpx in its place; it yields a `Pause` and is sent None after it; it returns the answer. A client
does as it is told, blocking or not.
"""

import itertools
import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeAlias, TypeVar

import httpx

from model.retries import REFUSED_FOR_NOW, Retries, read_retry_after_s
from service.client.calls import Call
from service.client.failures import ClientError, ServiceProblem, ServiceUnreachableError

__all__ = ["Attempt", "Outcome", "Pause", "exchange"]

A = TypeVar("A")
Outcome: TypeAlias = httpx.Response | httpx.RequestError

CONNECT_TIMEOUT_S = 5.0
LEAST_TIMEOUT_S = 0.001
# The service never saw the request.
NOT_ARRIVED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
# It may have; a connection that was kept open is closed when the service restarts.
BROKEN_OFF = (httpx.NetworkError, httpx.RemoteProtocolError)


@dataclass(frozen=True)
class Attempt:
    """Send the request now, and wait for it no longer than this."""

    timeout: httpx.Timeout


@dataclass(frozen=True)
class Pause:
    """Do nothing for a while."""

    seconds: float


def exchange(
    call: Call[A], retries: Retries, *, timeout_s: float, clock: Callable[[], float]
) -> Generator[Attempt | Pause, Outcome | None, A]:
    """Yield what is to be done for `call`, and return its answer.

    Gives up at once where the next attempt would begin after the deadline.

    Args:
        call: What is asked.
        retries: How patiently.
        timeout_s: Longest wait for bytes of one attempt, where the call has none of its own.
        clock: Seconds that only rise.

    Raises:
        ServiceProblem: The service will not answer, or not before the deadline.
        ServiceUnreachableError: It cannot be reached, or not before the deadline.
        UnexpectedAnswerError: The answer is a success, but none of this API.
    """
    until = clock() + retries.deadline_s
    attempt_s = call.timeout_s or timeout_s
    for attempt in itertools.count():
        outcome = yield Attempt(httpx.Timeout(attempt_s, connect=min(attempt_s, CONNECT_TIMEOUT_S)))
        assert outcome is not None
        if isinstance(outcome, httpx.Response) and outcome.status_code in call.statuses:
            return call.read(outcome)
        if isinstance(outcome, httpx.RequestError) and call.if_unreachable is not None:
            return call.if_unreachable
        pause_s = _pause_s(outcome, attempt, retries)
        if not _may_repeat(outcome, call, retries) or clock() + pause_s >= until:
            raise _error_of(outcome) from (outcome if isinstance(outcome, Exception) else None)
        yield Pause(pause_s)
        if call.timeout_s is None:  # a call that takes long by its nature is not cut short
            attempt_s = min(timeout_s, max(until - clock(), LEAST_TIMEOUT_S))
    raise AssertionError("counting never ends")


def _may_repeat(outcome: Outcome, call: Call, retries: Retries) -> bool:
    if isinstance(outcome, httpx.Response):
        if outcome.status_code in REFUSED_FOR_NOW:
            return True
        return outcome.status_code == 504 and retries.repeats_timeouts and call.is_repeatable
    if isinstance(outcome, NOT_ARRIVED):
        return True
    if isinstance(outcome, httpx.TimeoutException):
        return retries.repeats_timeouts and call.is_repeatable
    return isinstance(outcome, BROKEN_OFF) and call.is_repeatable


def _pause_s(outcome: Outcome, attempt: int, retries: Retries) -> float:
    asked_for = None
    if isinstance(outcome, httpx.Response):
        headers = outcome.headers
        asked_for = read_retry_after_s(
            headers.get("Retry-After"), date=headers.get("Date"), now=datetime.now(UTC)
        )
    return retries.pause_s(attempt, asked_for, chance=random.random())


def _error_of(outcome: Outcome) -> ClientError:
    if isinstance(outcome, httpx.Response):
        return ServiceProblem.of(outcome)
    address = outcome.request.url
    reason = str(outcome) or type(outcome).__name__
    if isinstance(outcome, httpx.TimeoutException):
        return ServiceUnreachableError(f"{address} did not answer in time ({reason})")
    return ServiceUnreachableError(
        f"{address} cannot be asked ({reason}); start a service with: "
        "python -m service --index INDEX"
    )
