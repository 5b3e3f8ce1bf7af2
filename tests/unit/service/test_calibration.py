"""Answers say how relevant a hit is and whether a query fits: what the index was calibrated to."""

import json

import numpy as np
import pytest

from index_builder.galleries.calibration import closeness
from index_builder.index_folder.versions import IndexFolder
from model.inputs.pictures import open_picture
from service.app import create_app
from service.config import ServiceConfig
from tests.unit.service.conftest import client_of, encoded
from tests.worlds import captions_of, index_world, made_up_picture, write_world

pytestmark = pytest.mark.anyio

QUERIES = [*captions_of(7), "square", "grey grey grey grey grey grey", "picture number one on a"]


@pytest.fixture(scope="module")
def large(checkpoint, tmp_path_factory):
    """An index of enough pictures with captions to be calibrated."""
    world = write_world(tmp_path_factory.mktemp("world"), image_count=120)
    return index_world(world, checkpoint, tmp_path_factory.mktemp("index") / "index")


@pytest.fixture(scope="module")
def calibrated(large):
    opened = IndexFolder(large).open()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def large_app(large):
    app = create_app(ServiceConfig(index=large, device="cpu"))
    yield app
    app.state.served.close()


async def results_of(app, path, **request):
    async with client_of(app) as client:
        answer = await client.post(path, **request)
    assert answer.status_code == 200, answer.text
    return answer.json()["results"]


async def test_a_caption_fits_if_it_is_close_to_the_captions_whatever_is_searched(
    large_app, calibrated, hrem
):
    captions = calibrated.captions
    near = closeness(hrem.encode_captions(QUERIES).numpy(), captions.background.vectors)
    expected = (near >= captions.calibration.lowest).tolist()
    for target in ("images", "captions"):
        results = await results_of(
            large_app, "/search/text", json={"query": QUERIES, "target": target}
        )
        assert [result["fits"] for result in results] == expected
    assert set(expected) == {True, False}


async def test_a_picture_fits_if_it_is_close_to_the_pictures(large_app, calibrated, hrem):
    contents = [encoded(made_up_picture(number)) for number in (3, 500)]
    contents.append(encoded(made_up_picture(3).convert("L")))
    images = calibrated.images
    vectors = hrem.encode_images([open_picture(content) for content in contents]).numpy()
    near = closeness(vectors, images.background.vectors)
    files = [("file", ("a.png", content)) for content in contents]
    results = await results_of(large_app, "/search/image", files=files)
    assert [one["fits"] for one in results] == (near >= images.calibration.lowest).tolist()


async def test_the_relevance_of_a_hit_is_that_of_its_score(large_app, calibrated):
    record = calibrated.record.quality.text_to_image.relevance
    (result,) = await results_of(
        large_app, "/search/text", json={"query": "a red circle", "limit": 50}
    )
    found = [hit["relevance"] for hit in result["hits"]]
    for hit in result["hits"]:
        logit = record.slope * hit["score"] + record.intercept
        assert hit["relevance"] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert all(0 <= relevance <= 1 for relevance in found)
    assert found == sorted(found, reverse=True)


async def test_both_directions_have_a_relevance_and_hits_of_the_same_kind_none(large_app):
    for target, is_told in (("images", True), ("captions", False)):
        (result,) = await results_of(
            large_app, "/search/text", json={"query": "circle", "target": target}
        )
        assert {hit["relevance"] is not None for hit in result["hits"]} == {is_told}
    content = encoded(made_up_picture(3))
    for target, is_told in (("images", False), ("captions", True)):
        (result,) = await results_of(
            large_app,
            "/search/image",
            files=[("file", ("a.png", content))],
            data={"params": json.dumps({"target": target})},
        )
        assert {hit["relevance"] is not None for hit in result["hits"]} == {is_told}


async def test_an_index_too_small_to_tell_says_null(app):
    (result,) = await results_of(app, "/search/text", json={"query": "a red circle"})
    assert result["fits"] is None
    assert {hit["relevance"] for hit in result["hits"]} == {None}
