"""One tiny world, checkpoint and index for all tests of the service, and clients of real apps."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from index_builder.index_folder.versions import IndexFolder, OpenIndex
from model.hrem import HREM
from service.app import create_app
from service.config import ServiceConfig
from tests.worlds import index_world, tiny_checkpoint, write_world

ClientOf = Callable[[FastAPI], Any]
MakeApp = Callable[..., FastAPI]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="session")
def index_folder(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return index_world(world, checkpoint, tmp_path_factory.mktemp("index") / "index")


@pytest.fixture(scope="session")
def hrem(checkpoint: Path) -> HREM:
    return HREM.from_pretrained(checkpoint)


@pytest.fixture(scope="session")
def opened(index_folder: Path) -> Iterator[OpenIndex]:
    index = IndexFolder(index_folder).open()
    yield index
    index.close()


@pytest.fixture
def make_app(index_folder: Path) -> Iterator[MakeApp]:
    """Makes apps on the tiny index (or `index=` another), and closes them after the test."""
    apps = []

    def make(**settings: Any) -> FastAPI:
        app = create_app(ServiceConfig(**{"index": index_folder, "device": "cpu", **settings}))
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.state.served.close()


@pytest.fixture(scope="session")
def app(index_folder: Path) -> Iterator[FastAPI]:
    app = create_app(ServiceConfig(index=index_folder, device="cpu"))
    yield app
    app.state.served.close()


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(app) as client:
        yield client


@pytest.fixture(scope="session")
def crowded_folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index with pictures that stand there twice and captions that lead to none."""
    folder = tmp_path_factory.mktemp("crowd")
    world = write_world(folder / "world", image_count=14)
    with (world / "captions.jsonl").open("a", encoding="utf-8") as lines:
        for copied in (0, 3, 4):
            picture = next((world / "images").rglob(f"picture-{copied:02d}.png"))
            (world / "images" / f"again-{copied}.png").write_bytes(picture.read_bytes())
        for caption in ("a red circle", "a red circle", "many blue squares", "nothing at all"):
            lines.write(json.dumps({"caption": caption}) + "\n")
        for number in range(12):
            lone = {"caption": f"a red triangle of number {number}", "image_id": "elsewhere"}
            lines.write(json.dumps(lone) + "\n")
    return index_world(world, checkpoint, folder / "index")


@pytest.fixture(scope="session")
def crowd(crowded_folder: Path) -> Iterator[OpenIndex]:
    index = IndexFolder(crowded_folder).open()
    yield index
    index.close()


@pytest.fixture(scope="session")
def crowded_app(crowded_folder: Path) -> Iterator[FastAPI]:
    app = create_app(ServiceConfig(index=crowded_folder, device="cpu"))
    yield app
    app.state.served.close()


@pytest.fixture
async def crowded(crowded_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app over that index."""
    async with client_of(crowded_app) as client:
        yield client


async def found_by(client: httpx.AsyncClient, path: str = "/search/text", **body: Any) -> Any:
    """What the one query of a search found."""
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    return result


async def all_pages(
    client: httpx.AsyncClient, path: str = "/search/text", *, limits: list[int], **body: Any
) -> list[Any]:
    """All hits, page after page; of the last page's limit there are as many as it takes."""
    hits: list[Any] = []
    offset: int | None = 0
    rest = list(limits)
    while offset is not None:
        assert offset == len(hits)
        limit = rest.pop(0) if len(rest) > 1 else rest[0]
        result = await found_by(client, path, **body, limit=limit, offset=offset)
        hits += result["hits"]
        offset = result["next_offset"]
        assert len(result["hits"]) == limit or offset is None
    return hits


@pytest.fixture(scope="session")
def connect() -> ClientOf:
    """Returns a client of an app of the test's own."""
    return client_of


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


def brute_force(query: np.ndarray, vectors: np.ndarray) -> list[tuple[int, float]]:
    """All rows with their scores, best first, ties by row, one float64 product at a time."""
    scores = [
        float(np.float32(sum(float(a) * float(b) for a, b in zip(query, row, strict=True))))
        for row in vectors
    ]
    return sorted(enumerate(scores), key=lambda scored: (-scored[1], scored[0]))
