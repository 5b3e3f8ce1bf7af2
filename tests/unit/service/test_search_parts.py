"""Sentences and pictures as one query."""

import base64
import json

import httpx
import numpy as np
import pytest

from index_builder.index_folder.versions import OpenIndex
from model.hrem import HREM
from model.identifiers import image_id_for_path
from tests.unit.service.conftest import all_pages, brute_force, encoded, found_by
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio
FIRST = image_id_for_path("picture-00.png")


def base64_of(number: int) -> str:
    return base64.b64encode(encoded(made_up_picture(number))).decode()


def unit(vector: np.ndarray) -> np.ndarray:
    wide = vector.astype(np.float64)
    return wide / np.linalg.norm(wide)


@pytest.mark.parametrize("target", ["images", "captions"])
async def test_a_query_of_parts_is_ranked_by_the_weighted_sum_of_their_embeddings(
    client: httpx.AsyncClient, opened: OpenIndex, hrem: HREM, target: str
) -> None:
    images, gallery = opened.images, opened.gallery(target)
    assert images is not None
    assert gallery is not None
    parts = [
        {"text": "a red circle", "weight": 1.5},
        {"image": {"base64": base64_of(5)}, "weight": -0.25},
        {"text": "blue"},
        {"image": {"id": FIRST}, "weight": 2},
        {"image": {"base64": base64_of(2)}},
    ]
    texts = hrem.encode_captions(["a red circle", "blue"]).numpy()
    pictures = hrem.encode_images([made_up_picture(5), made_up_picture(2)]).numpy()
    stored = images.vectors([FIRST])[0]
    query = unit(
        1.5 * unit(texts[0])
        - 0.25 * unit(pictures[0])
        + unit(texts[1])
        + 2 * unit(stored)
        + unit(pictures[1])
    )
    result = await found_by(client, "/search", parts=parts, target=target, limit=100)
    ids = gallery.ids_of_rows(range(gallery.row_count))
    vectors = gallery.vectors_of_rows(np.arange(gallery.row_count))
    ranked = brute_force(query, vectors)
    assert [hit["score"] for hit in result["hits"]] == pytest.approx(
        [score for _, score in ranked], abs=2e-6
    )
    score_of = {ids[row]: score for row, score in ranked}
    for hit in result["hits"]:
        assert hit["score"] == pytest.approx(score_of[hit["id"]], abs=2e-6)


@pytest.mark.parametrize("weight", [1, 0.001, 1e100])
async def test_one_sentence_of_any_weight_finds_images_as_it_does_alone(
    client: httpx.AsyncClient, weight: float
) -> None:
    alone = await found_by(client, query="a red circle")
    part = await found_by(client, "/search", parts=[{"text": "a red circle", "weight": weight}])
    assert [hit["id"] for hit in part["hits"]] == [hit["id"] for hit in alone["hits"]]
    assert [hit["score"] for hit in part["hits"]] == pytest.approx(
        [hit["score"] for hit in alone["hits"]], abs=1e-6
    )
    assert part["hits"][0]["image"] is not None


async def test_parts_are_one_query_in_pages_and_take_the_fields_of_all_searches(
    crowded: httpx.AsyncClient,
) -> None:
    body = {
        "parts": [{"text": "a red circle"}, {"image": {"id": FIRST}, "weight": 0.5}],
        "target": "captions",
        "group_by": "image",
        "fold_duplicates_above": 0.999,
    }
    whole = await all_pages(crowded, "/search", limits=[100], **body)
    assert await all_pages(crowded, "/search", limits=[2], **body) == whole


@pytest.mark.parametrize(
    "parts",
    [
        [{"text": "red", "weight": 1}, {"text": "red", "weight": -1}],
        [{"text": "red", "weight": 0}],
        [{"text": "red", "weight": 1e-7}],
        [{"image": {"id": FIRST}, "weight": 3}, {"image": {"id": FIRST}, "weight": -3}],
    ],
)
async def test_parts_that_add_up_to_nothing_are_refused(
    client: httpx.AsyncClient, parts: list[dict]
) -> None:
    answer = await client.post("/search", json={"parts": parts})
    assert (answer.status_code, answer.json()["code"]) == (422, "parts_cancel")


@pytest.mark.parametrize(
    ("parts", "where", "code"),
    [
        ("[]", "parts", "empty"),
        ('[{"weight": 1}]', "parts[0]", "one_part_kind"),
        ('[{"text": "a", "image": {"id": "x"}}]', "parts[0]", "one_part_kind"),
        ('[{"text": "a"}, {"text": " "}]', "parts[1].text", "empty_query"),
        ('[{"text": "a", "weight": NaN}]', "parts[0].weight", "not_finite"),
        ('[{"text": "a", "weight": 1e999}]', "parts[0].weight", "not_finite"),
        ('[{"text": "a", "weight": "2"}]', "parts[0].weight", "wrong_type"),
        ('[{"text": "a", "colour": "red"}]', "parts[0].colour", "unknown_field"),
        ('[{"image": {}}]', "parts[0].image", "one_image_source"),
        (json.dumps([{"text": "a"}] * 33), "parts", "out_of_range"),
    ],
)
async def test_wrong_parts_are_refused_and_named(
    client: httpx.AsyncClient, parts: str, where: str, code: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await client.post("/search", content=f'{{"parts": {parts}}}', headers=headers)
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["where"], error["code"]) == (where, code)


async def test_every_bad_picture_among_the_parts_is_named(client: httpx.AsyncClient) -> None:
    parts = [
        {"image": {"base64": base64_of(0)}},
        {"image": {"base64": base64.b64encode(b"no picture").decode()}},
        {"text": "red"},
        {"image": {"base64": ""}},
    ]
    answer = await client.post("/search", json={"parts": parts})
    assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_image")
    wheres = [error["where"] for error in answer.json()["errors"]]
    assert wheres == ["parts[1].image.base64", "parts[3].image.base64"]


async def test_an_unknown_image_among_the_parts_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search", json={"parts": [{"image": {"id": "unknown"}}]})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_item")


async def test_a_sentence_that_was_cut_warns_once(client: httpx.AsyncClient) -> None:
    long = "a red circle " * 100
    parts = [{"text": long}, {"text": long + "again"}, {"text": "red"}]
    result = await found_by(client, "/search", parts=parts)
    assert result["warnings"] == ["caption_truncated"]


async def test_other_content_types_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search", files={"file": encoded(made_up_picture(0))})
    assert answer.status_code == 415
