"""The client that waits for its answers."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from model.retries import Retries
from service.answers import SearchAnswer
from service.client import calls
from service.client.calls import Call
from service.client.exchange import Attempt, Outcome, exchange
from service.client.methods import described_by, http_settings
from service.client.paging import Paging, Query
from service.client.search_fields import SearchFields

__all__ = ["SearchClient"]

P = ParamSpec("P")
A = TypeVar("A")


def _method(build: Callable[P, Call[A]]) -> Callable[Concatenate["SearchClient", P], A]:
    """Return the method that asks what `build` says."""

    @described_by(build)
    def method(self: "SearchClient", /, *args: P.args, **kwargs: P.kwargs) -> A:
        return self.ask(build(*args, **kwargs))

    return method


class SearchClient:
    """A service at `url`; may be shared by threads. Close it, or use it in a `with`.

    Args:
        url: Root of the service, with its path prefix if it has one.
        key: Sent as `Authorization: Bearer`, where the service asks for one.
        timeout_s: Longest wait for bytes of one attempt; for a connection at most 5 s of it.
        retries: How patiently a refused request is asked again.
        sleep: Waits for some seconds.
        clock: Seconds that only rise.

    Raises:
        ValueError: The address is none.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries = Retries(),  # noqa: B008 - frozen
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx.Client(**http_settings(url, key))
        self._timeout_s = timeout_s
        self._retries = retries
        self._sleep = sleep
        self._clock = clock

    search_text = _method(calls.search_text)
    search_image = _method(calls.search_image)
    search = _method(calls.search)
    embed_text = _method(calls.embed_text)
    embed_image = _method(calls.embed_image)
    item = _method(calls.item)
    image = _method(calls.image)
    thumbnail = _method(calls.thumbnail)
    info = _method(calls.info)
    is_live = _method(calls.is_live)
    is_ready = _method(calls.is_ready)
    metrics = _method(calls.metrics)
    openapi = _method(calls.openapi)
    reload = _method(calls.reload)

    def pages(
        self, query: Query, *, most_hits: int = 1_000, **fields: Unpack[SearchFields]
    ) -> Iterator[SearchAnswer]:
        """Yield one page after another of one ranking, until it ends or has `most_hits` hits.

        All pages are of the index version that answered first, so none overlap and none is
        missing. Where that version is not served any more, for the index has been swapped twice
        since, the next page raises the problem `stale_version`: the pages so far stay valid, and a
        new iteration begins with the new version.

        Args:
            query: A sentence, a picture as for `search_image`, or a list of `Part`.
            most_hits: The service itself goes 1,000 hits deep.
            fields: What all searches have in common; `limit` is the size of a page.
        """
        paging = Paging(query, most_hits, fields)
        while (call := paging.next_call()) is not None:
            answer = self.ask(call)
            paging.take(answer)
            yield answer

    def ask(self, call: Call[A]) -> A:
        """Return the answer of a call, asked as patiently as `retries` says.

        Raises:
            ServiceProblem: The service will not answer.
            ServiceUnreachableError: It cannot be reached, or not in time.
            UnexpectedAnswerError: The answer is a success, but none of this API.
        """
        steps = exchange(call, self._retries, timeout_s=self._timeout_s, clock=self._clock)
        outcome: Outcome | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value
            if isinstance(step, Attempt):
                outcome = self._send(call, step.timeout)
            else:
                self._sleep(step.seconds)
                outcome = None

    def _send(self, call: Call, timeout: httpx.Timeout) -> Outcome:
        try:
            return self._http.request(call.method, call.path, timeout=timeout, **call.arguments)
        except httpx.RequestError as error:
            return error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self.close()
