"""Searching with region features: the npy body, its refusals, and items without pictures."""

import io
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from fastapi import FastAPI

from index_builder.build import build_index
from model.hrem import HREM
from service.app import create_app
from service.config import ServiceConfig
from tests.unit.data.layouts import REGION_DIM, captions_for, made_up_regions, write_scan
from tests.unit.service.conftest import brute_force, client_of
from tests.unit.service.test_bad_input import check_problem, wrongs
from tests.worlds import tiny_checkpoint

pytestmark = pytest.mark.anyio
NPY = "application/x-npy"
REGIONS = made_up_regions(6)


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


async def search(client: httpx.AsyncClient, body: bytes, params: Any = None) -> httpx.Response:
    query = {} if params is None else {"params": json.dumps(params)}
    return await client.post(
        "/search/image", content=body, headers={"Content-Type": NPY}, params=query
    )


@pytest.fixture(scope="module")
def region_hrem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("regions")
    return tiny_checkpoint(folder, backbone=None, region_dim=REGION_DIM)


@pytest.fixture(scope="module")
def region_app(region_hrem: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    folder = tmp_path_factory.mktemp("region-index")
    data = write_scan(folder / "precomp", "test", REGIONS, captions_for(6, 2))
    build_index(
        checkpoint=region_hrem,
        output=folder / "index",
        images=data / "test_ims.npy",
        captions=data / "test_caps.txt",
    )
    app = create_app(ServiceConfig(index=folder / "index", device="cpu", max_body_bytes=100_000))
    yield app
    app.state.served.close()


@pytest.fixture
async def region_client(region_app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(region_app) as client:
        yield client


async def test_regions_are_embedded_as_the_encoder_embeds_them(
    region_client: httpx.AsyncClient, region_hrem: Path
) -> None:
    headers = {"Content-Type": NPY}
    answer = await region_client.post("/embed/image", content=npy(REGIONS[2]), headers=headers)
    expected = HREM.from_pretrained(region_hrem).encode_regions(REGIONS[2:3]).numpy()
    np.testing.assert_allclose(answer.json()["embeddings"], expected, atol=1e-5)


async def test_regions_find_captions_with_the_scores_of_brute_force(
    region_client: httpx.AsyncClient, region_hrem: Path, region_app: FastAPI
) -> None:
    answer = await search(region_client, npy(REGIONS[2]), {"limit": 100})
    hits = answer.json()["results"][0]["hits"]
    query = HREM.from_pretrained(region_hrem).encode_regions(REGIONS[2:3]).numpy()[0]
    captions = region_app.state.served.serving.current.galleries["captions"]
    ids = {item.row: id_ for id_, item in captions.items([hit["id"] for hit in hits]).items()}
    vectors = captions.vectors([ids[row] for row in range(12)])
    expected = [(ids[row], score) for row, score in brute_force(query, vectors)]
    assert [(hit["id"], hit["score"]) for hit in hits] == expected
    assert {hit["image_id"] for hit in hits} == {f"test-{image}" for image in range(6)}


async def test_padding_makes_no_difference(region_client: httpx.AsyncClient) -> None:
    padded = np.concatenate([REGIONS[1], np.zeros((5, REGION_DIM), np.float32)])
    answers = [await search(region_client, npy(array)) for array in (REGIONS[1], padded)]
    first, second = (answer.json()["results"] for answer in answers)
    assert first == second


async def test_the_other_fields_come_as_params(region_client: httpx.AsyncClient) -> None:
    params = {"limit": 1, "target": "images", "include": ["image"]}
    answer = await search(region_client, npy(REGIONS[4]), params)
    (hit,) = answer.json()["results"][0]["hits"]
    assert hit["id"] == hit["image"]["id"] == "test-4"
    assert hit["image"]["url"] is hit["image"]["thumbnail_url"] is None
    item = (await region_client.get("/items/images/test-4")).json()
    assert item["image"]["url"] is None


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ({"limit": 0}, [("params.limit", "out_of_range")]),
        ({"colour": "red"}, [("params.colour", "unknown_field")]),
        ({"explain": 1}, [("params.explain", "wrong_type")]),
    ],
)
async def test_wrong_params_are_named(
    region_client: httpx.AsyncClient, params: dict[str, Any], wrong: list[tuple[str, str]]
) -> None:
    answer = await search(region_client, npy(REGIONS[0]), params)
    assert wrongs(check_problem(answer, 422, "invalid_request")) == wrong
    broken = await region_client.post(
        "/search/image?params={", content=npy(REGIONS[0]), headers={"Content-Type": NPY}
    )
    check_problem(broken, 422, "malformed_json")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (npy(REGIONS[0][:, :3]), rf"expects (region, {REGION_DIM})"),
        (npy(np.full((2, REGION_DIM), np.nan, np.float32)), "NaN"),
        (npy(np.ones((257, REGION_DIM), np.float32)), "send 1 to 256"),
        (npy(REGIONS[0])[:-1], "the header says"),
        (npy(REGIONS[0]) + b"\0", "the header says"),
        (npy(np.array([[None] * REGION_DIM])), "objects"),
        (npy(REGIONS), "has shape"),
        (b"", "no .npy file"),
    ],
)
async def test_features_that_cannot_be_used_are_refused_in_words(
    region_client: httpx.AsyncClient, body: bytes, said: str
) -> None:
    problem = check_problem(await search(region_client, body), 422, "invalid_regions")
    assert said in problem["detail"]
    assert wrongs(problem) == [("body", "invalid_regions")]


async def test_a_body_beyond_the_bound_is_not_read(region_client: httpx.AsyncClient) -> None:
    check_problem(await search(region_client, bytes(100_001)), 413, "body_too_large")


async def test_a_checkpoint_of_pictures_refuses_regions_in_words(client: httpx.AsyncClient) -> None:
    problem = check_problem(await search(client, npy(REGIONS[0])), 422, "unsupported_input")
    assert "was trained on pictures" in problem["detail"]


async def test_an_item_of_regions_has_no_picture(region_client: httpx.AsyncClient) -> None:
    for address in ("/images/test-0", "/images/test-0/thumbnail"):
        problem = check_problem(await region_client.get(address), 404, "no_picture")
        assert "test-0" in problem["detail"]
    check_problem(await region_client.get("/images/nobody/thumbnail"), 404, "unknown_item")
