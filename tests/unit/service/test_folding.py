"""Near-duplicates go into the hit that they repeat, over a real index."""

import httpx
import pytest

from index_builder.index_folder.versions import OpenIndex
from tests.unit.service.conftest import all_pages, found_by
from tests.unit.service.searches.ranking.test_folding import slowly_folded

pytestmark = pytest.mark.anyio
QUERY = "a red circle"


def slowly_listed(crowd: OpenIndex, target: str, hits: list[dict], bound: float) -> list[dict]:
    """The hits that are kept of these, with what was folded into them."""
    gallery = crowd.gallery(target)
    assert gallery is not None
    folded = slowly_folded(gallery.vectors([hit["id"] for hit in hits]), bound)
    return [
        {
            "id": hits[place]["id"],
            "score": hits[place]["score"],
            "duplicates": [(hits[other]["id"], hits[other]["score"], s) for other, s in others],
        }
        for place, others in folded.items()
    ]


def seen(hits: list[dict]) -> list[dict]:
    return [
        {
            "id": hit["id"],
            "score": hit["score"],
            "duplicates": [
                (one["id"], one["score"], pytest.approx(one["similarity"], abs=1e-6))
                for one in hit["duplicates"]
            ],
        }
        for hit in hits
    ]


@pytest.mark.parametrize("bound", [0, 0.9, 0.99, 0.9999, 1])
@pytest.mark.parametrize("target", ["images", "captions"])
@pytest.mark.parametrize("grouping", [{}, {"group_by": "image"}])
@pytest.mark.parametrize("limits", [[100], [3]])
async def test_hits_are_folded_as_asking_every_kept_one_folds_them(
    crowded: httpx.AsyncClient,
    crowd: OpenIndex,
    target: str,
    grouping: dict,
    bound: float,
    limits: list[int],
) -> None:
    body = {"query": QUERY, "target": target, **grouping}
    unfolded = await all_pages(crowded, limits=[100], **body)
    hits = await all_pages(crowded, limits=limits, **body, fold_duplicates_above=bound)
    assert seen(hits) == slowly_listed(crowd, target, unfolded, bound)
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


async def test_a_picture_that_stands_there_twice_is_one_hit(crowded: httpx.AsyncClient) -> None:
    plain = (await found_by(crowded, query=QUERY, limit=100))["hits"]
    assert all(hit["duplicates"] is None for hit in plain)
    folded = await found_by(crowded, query=QUERY, limit=100, fold_duplicates_above=1)
    assert (len(plain), len(folded["hits"])) == (17, 14)
    assert folded["next_offset"] is None
    doubles = [hit for hit in folded["hits"] if hit["duplicates"]]
    assert len(doubles) == 3
    for hit in doubles:
        (other,) = hit["duplicates"]
        assert other["similarity"] == 1.0
        assert other["score"] == hit["score"]


async def test_a_full_page_that_is_the_last_one_says_so(crowded: httpx.AsyncClient) -> None:
    body = {"query": QUERY, "fold_duplicates_above": 1}
    assert (await found_by(crowded, **body, limit=14))["next_offset"] is None
    assert (await found_by(crowded, **body, limit=13))["next_offset"] == 13


@pytest.mark.parametrize(
    ("value", "code"),
    [("1.5", "out_of_range"), ("-0.1", "out_of_range"), ("NaN", "not_finite"),
     ("true", "wrong_type"), ('"0.5"', "wrong_type")],
)  # fmt: skip
async def test_a_bound_that_is_no_cosine_from_0_to_1_is_refused(
    crowded: httpx.AsyncClient, value: str, code: str
) -> None:
    body = f'{{"query": "red", "fold_duplicates_above": {value}}}'
    headers = {"Content-Type": "application/json"}
    answer = await crowded.post("/search/text", content=body, headers=headers)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["where"], error["code"]) == ("fold_duplicates_above", code)
