"""One hit for each image, over a real index; the pure part is tested in `ranking`."""

import httpx
import numpy as np
import pytest

from index_builder.index_folder.versions import OpenIndex
from model.hrem import HREM
from tests.unit.service.conftest import all_pages, brute_force, found_by

pytestmark = pytest.mark.anyio
QUERY = "a red circle"


def slow_groups(crowd: OpenIndex, query: np.ndarray) -> list[dict]:
    """Every image that captions name, by its best caption, with its other captions."""
    captions = crowd.captions
    assert captions is not None
    items = captions.items_of_rows(0, captions.row_count)
    vectors = captions.vectors_of_rows(np.arange(captions.row_count))
    groups: dict[str, dict] = {}
    for row, score in brute_force(query, vectors):
        one = {"id": items[row].id, "caption": items[row].caption, "score": score}
        image_id = items[row].image_id or f"caption {row} alone"
        if image_id in groups:
            groups[image_id]["captions"].append(one)
        else:
            groups[image_id] = {**one, "captions": []}
    for group in groups.values():
        del group["captions"][10:]
    return list(groups.values())


def seen(hits: list[dict]) -> list[dict]:
    return [{name: hit[name] for name in ("id", "caption", "score", "captions")} for hit in hits]


@pytest.mark.parametrize("limits", [[100], [1], [7], [3, 50]])
async def test_captions_are_grouped_by_image_as_brute_force_groups_them(
    crowded: httpx.AsyncClient, crowd: OpenIndex, hrem: HREM, limits: list[int]
) -> None:
    query = hrem.encode_captions([QUERY]).numpy()[0]
    expected = slow_groups(crowd, query)
    hits = await all_pages(crowded, limits=limits, query=QUERY, target="captions", group_by="image")
    assert seen(hits) == expected
    assert len(hits) == 14 + 1 + 4  # images, the one elsewhere, captions without an image
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


async def test_a_group_whose_image_is_not_in_the_index_shows_no_image(
    crowded: httpx.AsyncClient,
) -> None:
    result = await found_by(
        crowded, query="a red triangle of number 7", target="captions", group_by="image", limit=100
    )
    (hit,) = [one for one in result["hits"] if len(one["captions"]) == 10]
    assert "of number" in hit["caption"]
    assert (hit["image"], hit["image_id"]) == (None, None)


@pytest.mark.parametrize("limits", [[100], [4]])
async def test_images_stay_as_they_are_and_show_their_captions(
    crowded: httpx.AsyncClient, crowd: OpenIndex, hrem: HREM, limits: list[int]
) -> None:
    query = hrem.encode_captions([QUERY]).numpy()[0]
    plain = await all_pages(crowded, limits=[100], query=QUERY)
    hits = await all_pages(crowded, limits=limits, query=QUERY, group_by="image")
    assert [{**hit, "captions": None} for hit in hits] == plain
    assert len(hits) == 17
    captions = crowd.captions
    assert captions is not None
    items = captions.items_of_rows(0, captions.row_count)
    ranked = brute_force(query, captions.vectors_of_rows(np.arange(captions.row_count)))
    for hit in hits:
        assert hit["captions"] == [
            {"id": items[row].id, "caption": items[row].caption, "score": score}
            for row, score in ranked
            if items[row].image_id == hit["id"]
        ]


async def test_a_query_finds_in_a_batch_what_it_finds_alone(crowded: httpx.AsyncClient) -> None:
    queries = [QUERY, "a blue square", "triangle"]
    body = {"target": "captions", "group_by": "image", "limit": 100}
    answer = await crowded.post("/search/text", json={"query": queries, **body})
    for query, of_batch in zip(queries, answer.json()["results"], strict=True):
        alone = await found_by(crowded, query=query, **body)
        assert seen(alone["hits"]) == seen(of_batch["hits"])


async def test_a_picture_finds_grouped_captions_too(crowded: httpx.AsyncClient) -> None:
    image = (await found_by(crowded, query=QUERY, limit=1))["hits"][0]["id"]
    body = {"image": {"id": image}, "group_by": "image", "limit": 100}
    hits = (await found_by(crowded, "/search/image", **body))["hits"]
    images = [hit["image_id"] for hit in hits if hit["image_id"]]
    assert len(images) == len(set(images)) == 14


async def test_another_grouping_is_refused(crowded: httpx.AsyncClient) -> None:
    answer = await crowded.post("/search/text", json={"query": QUERY, "group_by": "colour"})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "group_by"
