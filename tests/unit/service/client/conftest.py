"""Both clients behind one face, so that every law is tested for each."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service.client import AsyncSearchClient, SearchClient
from tests.live_service import Service, start_service, stop_service


@dataclass
class Clock:
    """Time that passes only by sleeping."""

    now_s: float = 1_000.0
    slept_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@dataclass(frozen=True)
class Client:
    """Either client; `ask` and `pages` make one for the call and wait for it to end."""

    kind: str
    clock: Clock = field(default_factory=Clock)

    def ask(self, url: str, method: str, *arguments: Any, settings: Any = None, **fields: Any):
        settings = {"clock": self.clock, **(settings or {})}
        if self.kind == "blocking":
            with SearchClient(url, sleep=self.clock.sleep, **settings) as client:
                return getattr(client, method)(*arguments, **fields)

        async def ask() -> Any:
            async with AsyncSearchClient(url, sleep=self.clock.sleep_async, **settings) as client:
                return await getattr(client, method)(*arguments, **fields)

        return asyncio.run(ask())

    def pages(self, url: str, query: Any, **fields: Any) -> list[Any]:
        if self.kind == "blocking":
            with SearchClient(url) as client:
                return list(client.pages(query, **fields))

        async def collect() -> list[Any]:
            async with AsyncSearchClient(url) as client:
                return [page async for page in client.pages(query, **fields)]

        return asyncio.run(collect())


@pytest.fixture(params=["blocking", "async"])
def client(request: pytest.FixtureRequest) -> Client:
    return Client(request.param)


@pytest.fixture(scope="module")
def service(index_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(index_folder, tmp_path_factory.mktemp("service") / "stderr.txt")
    yield running
    stop_service(running)
