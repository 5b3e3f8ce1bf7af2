"""A pair of index and checkpoint is replaced while queries run: whole, or not at all."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from safetensors.numpy import load_file, save_file

from index_builder.build import build_index
from index_builder.index_folder.versions import IndexFolder
from tests.unit.service.conftest import ClientOf, MakeApp
from tests.unit.service.slow_encoder import hold_encoder, wait_until
from tests.unit.service.test_bad_input import check_problem
from tests.worlds import tiny_checkpoint, write_world

pytestmark = pytest.mark.anyio


KEY = "operator-key-0123456789"


@pytest.fixture
def make_app(make_app: MakeApp, tmp_path: Path) -> MakeApp:
    """Makes apps that an operator may reload."""
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "operator"\nkey = "{KEY}"\nadmin = true\n')
    return partial(make_app, keys=keys)


@pytest.fixture
def connect(connect: ClientOf) -> ClientOf:
    """Returns a client of the operator's."""

    @asynccontextmanager
    async def connect_as_operator(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
        async with connect(app) as client:
            client.headers["Authorization"] = f"Bearer {KEY}"
            yield client

    return connect_as_operator


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another network of the same size, with other weights."""
    folder = tiny_checkpoint(tmp_path_factory.mktemp("other network"))
    weights = load_file(folder / "model.safetensors")
    rng = np.random.default_rng(5)
    for name, values in weights.items():
        if values.dtype == np.float32 and values.ndim > 1:
            weights[name] = values + rng.normal(0, 0.1, values.shape).astype(np.float32)
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture
def growing(index_folder: Path, tmp_path: Path) -> Path:
    """An index at version 1, to which a test adds another."""
    return Path(shutil.copytree(index_folder, tmp_path / "growing"))


SecondVersion = Callable[..., None]


@pytest.fixture(scope="module")
def second_version(
    index_folder: Path,
    checkpoint: Path,
    other_checkpoint: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> SecondVersion:
    """Puts version 2 into an index: pictures of other ids, fewer captions, or another network."""
    folder = tmp_path_factory.mktemp("second version")
    world = write_world(folder / "world", image_count=6)
    (world / "images").rename(world / "other")
    rows = [json.loads(line) for line in (world / "captions.jsonl").read_text().splitlines()]
    (world / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]))
    built: dict[Path, Path] = {}
    for made_by in (checkpoint, other_checkpoint):
        built[made_by] = Path(shutil.copytree(index_folder, folder / str(len(built))))
        build_index(
            checkpoint=made_by,
            output=built[made_by],
            images=world / "other",
            captions=world / "captions.jsonl",
        )

    def put(index: Path, made_by: Path = checkpoint) -> None:
        shutil.copytree(built[made_by], index, dirs_exist_ok=True)

    return put


async def searched(client: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await client.post("/search/text", json={"query": "a red circle", **fields})
    return answer.raise_for_status().json()


async def reload(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await client.post("/admin/reload", json=fields)


async def test_a_reload_serves_the_newest_version(
    growing: Path,
    second_version: SecondVersion,
    make_app: MakeApp,
    connect: ClientOf,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connect(make_app(index=growing)) as client:
        fingerprint = (await searched(client))["index"]["checkpoint"]
        with caplog.at_level("INFO", logger="service.serving"):
            unchanged = (await reload(client)).raise_for_status().json()
        assert f"version 1 of {growing} is served already" in caplog.messages
        assert unchanged == {
            "index": {"version": 1, "checkpoint": fingerprint},
            "previous_version": None,
            "changed": False,
        }
        second_version(growing)
        assert (await searched(client))["index"]["version"] == 1
        changed = (await reload(client)).raise_for_status().json()
        assert (changed["index"]["version"], changed["previous_version"]) == (2, 1)
        assert changed["changed"]
        assert (await searched(client))["index"]["version"] == 2
        info = (await client.get("/info")).json()
        assert info["galleries"]["images"]["count"] == 6


async def test_who_pages_goes_on_in_the_version_before(
    growing: Path, second_version: SecondVersion, make_app: MakeApp, connect: ClientOf
) -> None:
    async with connect(make_app(index=growing)) as client:
        whole = (await searched(client, limit=12))["results"][0]["hits"]
        first = await searched(client, limit=6)
        second_version(growing)
        await reload(client)
        rest = await searched(client, limit=6, offset=6, version=first["index"]["version"])
        assert rest["index"]["version"] == 1
        assert first["results"][0]["hits"] + rest["results"][0]["hits"] == whole
        picture = whole[0]["image"]
        for address in (picture["url"], picture["thumbnail_url"]):
            assert (await client.get(address)).status_code == 200
        problem = await client.post("/search/text", json={"query": "red", "version": 7})
        assert "version 2 and 1 is" in check_problem(problem, 409, "stale_version")["detail"]


async def test_the_version_two_swaps_ago_is_closed(
    growing: Path, second_version: SecondVersion, make_app: MakeApp, connect: ClientOf
) -> None:
    app = make_app(index=growing)
    async with connect(app) as client:
        second_version(growing)
        first = app.state.served.serving.current
        await reload(client)
        with IndexFolder(growing).writing() as index:
            record = index.record()
            index.publish(
                checkpoint=record.checkpoint, images=record.images, captions=None, images_root=None
            )
        await reload(client)
        assert [pair.served.version for pair in app.state.served.serving.pairs()] == [3, 2]
        check_problem(
            await client.post("/search/text", json={"query": "red", "version": 1}),
            409,
            "stale_version",
        )
        await wait_until(lambda: not first.searcher._batches._thread.is_alive())


async def test_a_query_under_way_finishes_on_the_pair_it_began_with(
    growing: Path,
    second_version: SecondVersion,
    other_checkpoint: Path,
    make_app: MakeApp,
    connect: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = make_app(index=growing)
    async with connect(app) as client:
        expected = await searched(client, query="one red circle on grey")
        released = hold_encoder(app, monkeypatch)
        app.state.served.serving.current.encoder._kept.clear()
        under_way = asyncio.create_task(searched(client, query="one red circle on grey"))
        await wait_until(lambda: app.state.served.admission.waiting_items > 0)
        second_version(growing, other_checkpoint)
        assert (await reload(client)).json()["index"]["version"] == 2
        new = await searched(client, query="one red circle on grey")
        released.set()
        old = await under_way
    assert (old["index"], old["results"]) == (expected["index"], expected["results"])
    assert new["index"]["version"] == 2
    assert new["index"]["checkpoint"] != old["index"]["checkpoint"]


def damaged_copies(growing: Path, folder: Path) -> dict[str, Path]:
    """Return copies of an index at its second version, each broken in one way."""
    copies = {}
    for name in ("no current", "cut gallery", "cut weights"):
        copies[name] = Path(shutil.copytree(growing, folder / name))
    (copies["no current"] / "current").unlink()
    images = IndexFolder(growing).record().images
    assert images is not None
    (copies["cut gallery"] / images.folder / "index.faiss").write_bytes(b"")
    for weights in (copies["cut weights"] / "checkpoints").glob("*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-64])
    return copies


async def test_a_pair_that_fails_its_checks_is_refused_and_the_old_one_stays(
    growing: Path,
    second_version: SecondVersion,
    checkpoint: Path,
    other_checkpoint: Path,
    make_app: MakeApp,
    connect: ClientOf,
    tmp_path: Path,
) -> None:
    app: FastAPI = make_app(index=growing)
    second = Path(shutil.copytree(growing, tmp_path / "second"))
    second_version(second, other_checkpoint)
    broken = damaged_copies(second, tmp_path / "broken")
    async with connect(app) as client:
        before = await searched(client)
        for name, folder in {**broken, "nothing": tmp_path / "nothing"}.items():
            answer = await reload(client, index=str(folder))
            detail = check_problem(answer, 409, "reload_refused")["detail"]
            assert detail and str(tmp_path) not in detail, name
            assert "hrem_last_reload_ok 0.0" in (await client.get("/metrics")).text
            if name in ("no current", "nothing"):
                assert detail == (
                    "the index folder holds no index (no file `current`); name one that a build "
                    "has written"
                )
        answer = await reload(client, index=str(second), checkpoint=str(checkpoint))
        assert "fingerprint" in check_problem(answer, 409, "reload_refused")["detail"]
        after = await searched(client)
        assert (after["index"], after["results"]) == (before["index"], before["results"])
        assert (await client.get("/health/ready")).status_code == 200
        assert (await reload(client, index=str(second))).json()["changed"]


async def test_two_indexes_of_the_same_version_are_told_apart_or_refused(
    index_folder: Path, crowded_folder: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    async with connect(make_app(index=index_folder)) as client:
        answer = await reload(client, index=str(crowded_folder))
        assert "version 1" in check_problem(answer, 409, "reload_refused")["detail"]
        assert (await searched(client))["index"]["version"] == 1


async def test_a_canary_notices_vectors_that_the_encoder_does_not_give(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    encoder = app.state.served.serving.current.encoder.encoder
    real = encoder.encode_captions
    async with connect(app) as client:
        monkeypatch.setattr(encoder, "encode_captions", lambda captions: -real(captions))
        app.state.served.admission.is_in_doubt = True
        answer = await client.get("/health/ready")
        assert "GalleryIndexError" in check_problem(answer, 503, "not_ready")["detail"]


async def test_only_one_reload_runs_at_a_time(
    growing: Path, second_version: SecondVersion, make_app: MakeApp, connect: ClientOf
) -> None:
    async with connect(make_app(index=growing)) as client:
        second_version(growing)
        answers = await asyncio.gather(*(reload(client) for _ in range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        assert (await searched(client))["index"]["version"] == 2


async def test_files_that_were_put_back_are_opened_though_the_version_is_the_same(
    growing: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    backup = Path(shutil.copytree(growing, tmp_path / "backup"))
    app = make_app(index=growing)
    async with connect(app) as client:
        whole = (await searched(client))["results"]
        served = app.state.served.serving.current
        captions = served.index.record.captions.folder
        (growing / captions / "manifest.json").write_bytes(b"damaged")
        check_problem(await reload(client), 409, "reload_refused")
        shutil.rmtree(growing / captions)
        shutil.copytree(backup / captions, growing / captions)
        reopened = (await reload(client)).raise_for_status().json()
        assert (reopened["index"]["version"], reopened["previous_version"]) == (1, None)
        assert reopened["changed"]
        assert app.state.served.serving.current is not served
        assert (await searched(client))["results"] == whole
        assert not (await reload(client)).raise_for_status().json()["changed"]
        elsewhere = (await reload(client, index=str(backup))).raise_for_status().json()
        assert elsewhere["changed"]
        assert app.state.served.serving.current.index_path == backup


async def test_who_pages_in_the_version_before_goes_on_when_files_were_put_back(
    growing: Path,
    second_version: SecondVersion,
    tmp_path: Path,
    make_app: MakeApp,
    connect: ClientOf,
) -> None:
    async with connect(make_app(index=growing)) as client:
        second_version(growing)
        await reload(client)
        copy = shutil.copytree(growing, tmp_path / "copy")
        again = (await reload(client, index=str(copy))).raise_for_status().json()
        assert (again["index"]["version"], again["previous_version"]) == (2, 1)
        assert (await searched(client, version=1))["index"]["version"] == 1
