"""An app that asks for the keys in `KEYS` of the test's module, and a client of it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import create_app
from service.config import ServiceConfig
from tests.unit.service.conftest import ClientOf
from tests.unit.service.guarding import start_afresh


@pytest.fixture
def keys(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(request.module.KEYS)
    return path


@pytest.fixture(scope="module")
def guarded_app(
    index_folder: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[FastAPI]:
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(request.module.KEYS)
    app = create_app(ServiceConfig(index=index_folder, device="cpu", keys=keys))
    yield app
    app.state.served.close()


@pytest.fixture
def guarded(guarded_app: FastAPI, keys: Path) -> FastAPI:
    start_afresh(guarded_app.state.access, keys)
    return guarded_app


@pytest.fixture
async def client(guarded: FastAPI, connect: ClientOf) -> AsyncIterator[httpx.AsyncClient]:
    async with connect(guarded) as client:
        yield client
