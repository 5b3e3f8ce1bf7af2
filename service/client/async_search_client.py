"""The client whose answers are awaited."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

import httpx

from model.retries import Retries
from service.answers import SearchAnswer
from service.client import calls
from service.client.calls import Call
from service.client.exchange import Attempt, Outcome, exchange
from service.client.methods import described_by, http_settings
from service.client.paging import Paging, Query
from service.client.search_fields import SearchFields

__all__ = ["AsyncSearchClient"]

P = ParamSpec("P")
A = TypeVar("A")


def _method(
    build: Callable[P, Call[A]],
) -> Callable[Concatenate["AsyncSearchClient", P], Coroutine[Any, Any, A]]:
    """Return the method that asks what `build` says."""

    @described_by(build)
    async def method(self: "AsyncSearchClient", /, *args: P.args, **kwargs: P.kwargs) -> A:
        return await self.ask(build(*args, **kwargs))

    return method


class AsyncSearchClient:
    """A service at `url`; for asyncio, of one event loop. Close it, or use it in an `async with`.

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
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._http = httpx.AsyncClient(**http_settings(url, key))
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

    async def pages(
        self, query: Query, *, most_hits: int = 1_000, **fields: Unpack[SearchFields]
    ) -> AsyncIterator[SearchAnswer]:
        """Yield one page after another of one ranking: see `SearchClient.pages`."""
        paging = Paging(query, most_hits, fields)
        while (call := paging.next_call()) is not None:
            answer = await self.ask(call)
            paging.take(answer)
            yield answer

    async def ask(self, call: Call[A]) -> A:
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
                outcome = await self._send(call, step.timeout)
            else:
                await self._sleep(step.seconds)
                outcome = None

    async def _send(self, call: Call, timeout: httpx.Timeout) -> Outcome:
        try:
            return await self._http.request(
                call.method, call.path, timeout=timeout, **call.arguments
            )
        except httpx.RequestError as error:
            return error

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        """Return this client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        await self.close()
