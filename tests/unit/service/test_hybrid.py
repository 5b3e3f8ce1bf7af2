"""Rankings by vectors and by words as one, over a real index."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index_builder.build import build_index
from index_builder.index_folder.versions import OpenIndex
from index_builder.vector_index import RowMask
from model.hrem import HREM
from service.pairs.pair import PairOpener, ServedPair
from service.searches.arranging import Arrangement, Arranger
from service.searches.queries import CaptionQueries, IndexedImageQuery
from service.searches.weighted_queries import WeightedParts, WeightedQuery
from tests.unit.service.conftest import MakeApp, all_pages, brute_force, client_of, found_by
from tests.unit.service.searches.ranking.test_folding import slowly_folded

pytestmark = pytest.mark.anyio
QUERY = "blue square number 6"


def slow_list(
    index: OpenIndex,
    target: str,
    embedding: np.ndarray,
    words: str,
    *,
    is_allowed: np.ndarray | None = None,
    is_grouped: bool = False,
    fold_above: float | None = None,
) -> list[tuple[int, float, list[int]]]:
    """(row, score, rows of duplicates) of the whole list: every step in its plainest form."""
    gallery, captions = index.gallery(target), index.captions
    assert gallery is not None
    assert captions is not None
    if is_allowed is None:
        is_allowed = np.ones(gallery.row_count, dtype=bool)
    vectors = gallery.vectors_of_rows(np.arange(gallery.row_count))
    scored = [(row, score) for row, score in brute_force(embedding, vectors) if is_allowed[row]]
    score_of = dict(scored)
    by_vector = [row for row, _ in scored]
    items = captions.items_of_rows(0, captions.row_count)
    by_words: list[int] = []
    for found in captions.captions_matching(words, 1000):
        row: int | None = found.row
        if target == "images":
            image = index.images.item(items[found.row].image_id or "")
            row = None if image is None else image.row
        if row is not None and is_allowed[row] and row not in by_words:
            by_words.append(row)
    sums = dict.fromkeys([*by_vector, *by_words], 0.0)
    for ranking in (by_vector, by_words):
        for rank, row in enumerate(ranking, 1):
            sums[row] += 1 / (60 + rank)
    rows = sorted(sums, key=lambda row: (-sums[row], -score_of[row], row))
    if is_grouped and target == "captions":
        images = [items[row].image_id for row in rows]
        rows = [r for i, r in enumerate(rows) if images[i] is None or images[i] not in images[:i]]
    if fold_above is None:
        return [(row, score_of[row], []) for row in rows]
    folded = slowly_folded([vectors[row] for row in rows], fold_above)
    return [
        (rows[place], score_of[rows[place]], [rows[other] for other, _ in others])
        for place, others in folded.items()
    ]


@pytest.mark.parametrize("target", ["images", "captions"])
@pytest.mark.parametrize("limits", [[100], [7]])
@pytest.mark.parametrize(
    "more", [{}, {"group_by": "image"}, {"group_by": "image", "fold_duplicates_above": 0.999}]
)
async def test_words_and_vectors_are_fused_as_the_slow_list_fuses_them(
    crowded: httpx.AsyncClient,
    crowd: OpenIndex,
    hrem: HREM,
    target: str,
    limits: list[int],
    more: dict,
) -> None:
    embedding = hrem.encode_captions([QUERY]).numpy()[0]
    expected = slow_list(
        crowd,
        target,
        embedding,
        QUERY,
        is_grouped="group_by" in more,
        fold_above=more.get("fold_duplicates_above"),
    )
    ids = crowd.gallery(target).ids_of_rows([row for row, _, _ in expected])
    hits = await all_pages(
        crowded, limits=limits, query=QUERY, mode="hybrid", target=target, **more
    )
    assert [(hit["id"], hit["score"]) for hit in hits] == [
        (ids[row], score) for row, score, _ in expected
    ]
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


async def test_only_the_order_changes_and_it_does_change(crowded: httpx.AsyncClient) -> None:
    body = {"query": QUERY, "target": "captions", "limit": 100}
    vector = await found_by(crowded, **body)
    hybrid = await found_by(crowded, **body, mode="hybrid")
    scores = [{hit["id"]: hit["score"] for hit in found["hits"]} for found in (vector, hybrid)]
    assert scores[0] == scores[1]
    orders = [[hit["id"] for hit in found["hits"]] for found in (vector, hybrid)]
    assert orders[0] != orders[1]
    assert hybrid["hits"][0]["caption"] == QUERY


async def test_the_image_whose_caption_has_the_words_comes_no_later_than_without_them(
    crowded: httpx.AsyncClient, crowd: OpenIndex
) -> None:
    (word_hit,) = crowd.captions.captions_matching(QUERY, 1)
    (caption,) = crowd.captions.items_of_rows(word_hit.row, word_hit.row + 1)
    assert caption.caption == QUERY
    ranks = {}
    for mode in ("vector", "hybrid"):
        hits = (await found_by(crowded, query=QUERY, mode=mode, limit=100))["hits"]
        (ranks[mode],) = [hit["rank"] for hit in hits if hit["id"] == caption.image_id]
    assert ranks["hybrid"] < ranks["vector"]


@pytest.mark.parametrize("query", ["???", "zebra", "🙂", '"red', "a AND NOT b*", "NEAR(", "\x00"])
async def test_any_text_is_a_query_and_without_known_words_vectors_decide(
    crowded: httpx.AsyncClient, crowd: OpenIndex, query: str
) -> None:
    hybrid = await found_by(crowded, query=query, mode="hybrid", limit=100)
    assert len(hybrid["hits"]) == 17
    if not crowd.captions.captions_matching(query, 1):
        assert hybrid == await found_by(crowded, query=query, limit=100)


async def test_a_batch_finds_what_its_queries_find_alone(crowded: httpx.AsyncClient) -> None:
    queries = [QUERY, "a red circle", "zebra"]
    body = {"mode": "hybrid", "target": "captions", "limit": 100, "group_by": "image"}
    answer = await crowded.post("/search/text", json={"query": queries, **body})
    for query, of_batch in zip(queries, answer.json()["results"], strict=True):
        alone = await found_by(crowded, query=query, **body)
        assert [(h["id"], h["rank"]) for h in alone["hits"]] == [
            (h["id"], h["rank"]) for h in of_batch["hits"]
        ]


async def test_of_parts_the_sentences_that_lead_towards_are_looked_up(
    crowded: httpx.AsyncClient,
) -> None:
    body = {"target": "captions", "mode": "hybrid", "limit": 100}
    alone = await found_by(crowded, query=QUERY, **body)
    for away in ([], [{"text": "a green triangle", "weight": -1e-9}]):
        parts = [{"text": QUERY}, *away]
        found = await found_by(crowded, "/search", parts=parts, **body)
        assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in alone["hits"]]


def test_the_words_of_parts_are_their_sentences_in_order() -> None:
    sentences = CaptionQueries(["blue square", "circle", "number 6", "star"])
    picture = WeightedParts(IndexedImageQuery("any"), [1.0])
    query = WeightedQuery([picture, WeightedParts(sentences, [1.0, -1.0, 0.5, 0.0])])
    assert query.words == ["blue square number 6"]
    assert WeightedQuery([picture]).words == [None]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/search/image", {"image": {"id": "any"}}),
        ("/search", {"parts": [{"image": {"id": "any"}}]}),
        ("/search", {"parts": [{"image": {"id": "any"}}, {"text": "red", "weight": -1}]}),
    ],
)
async def test_a_query_without_words_is_refused(
    crowded: httpx.AsyncClient, path: str, body: dict
) -> None:
    answer = await crowded.post(path, json={**body, "mode": "hybrid"})
    assert (answer.status_code, answer.json()["code"]) == (422, "no_words")


async def test_an_index_without_captions_says_so(
    world: Path, checkpoint: Path, make_app: MakeApp, tmp_path: Path
) -> None:
    build_index(checkpoint=checkpoint, images=world / "images", output=tmp_path / "index")
    async with client_of(make_app(index=tmp_path / "index")) as client:
        answer = await client.post("/search/text", json={"query": "red", "mode": "hybrid"})
        assert (answer.status_code, answer.json()["code"]) == (404, "gallery_missing")
        grouped = await found_by(client, query="red", group_by="image")
        assert [hit["captions"] for hit in grouped["hits"]] == [None] * 10


@pytest.mark.parametrize("limits", [[100], [2]])
async def test_a_filter_goes_with_groups_duplicates_and_words(
    crowded: httpx.AsyncClient, crowd: OpenIndex, hrem: HREM, limits: list[int]
) -> None:
    captions = crowd.captions
    items = captions.items_of_rows(0, captions.row_count)
    is_allowed = np.array([item.metadata.get("number", 99) < 9 for item in items])
    embedding = hrem.encode_captions([QUERY]).numpy()[0]
    expected = slow_list(
        crowd, "captions", embedding, QUERY, is_allowed=is_allowed, is_grouped=True, fold_above=0.99
    )
    hits = await all_pages(
        crowded,
        limits=limits,
        query=QUERY,
        target="captions",
        mode="hybrid",
        group_by="image",
        fold_duplicates_above=0.99,
        filter={"number": {"lt": 9}},
    )
    found = [(h["id"], h["score"], [one["id"] for one in h["duplicates"]]) for h in hits]
    assert found == [
        (items[row].id, score, [items[other].id for other in others])
        for row, score, others in expected
    ]
    number_of = {item.id: item.metadata.get("number") for item in items}
    for hit in hits:
        assert all(number_of[one["id"]] < 9 for one in hit["captions"])


async def test_where_nothing_fits_nothing_is_found(crowded: httpx.AsyncClient) -> None:
    result = await found_by(
        crowded,
        query=QUERY,
        target="captions",
        mode="hybrid",
        group_by="image",
        fold_duplicates_above=0.99,
        filter={"number": {"lt": -1}},
    )
    assert (result["hits"], result["next_offset"]) == ([], None)


@pytest.fixture(scope="module")
def pair(crowded_folder: Path) -> Iterator[ServedPair]:
    pair = PairOpener().open(crowded_folder)
    yield pair
    pair.close()


@settings(deadline=None, max_examples=40)
@given(
    target=st.sampled_from(["images", "captions"]),
    share=st.sampled_from([0.1, 0.5, 1.0]),
    is_grouped=st.booleans(),
    fold_above=st.sampled_from([None, 0.99, 1.0]),
    words=st.sampled_from([QUERY, "red", "a picture of a green triangle", "zebra"]),
    limit=st.integers(1, 30),
    seed=st.integers(0, 100),
)
def test_with_a_filter_too_the_pages_are_the_slow_list(
    pair: ServedPair,
    target: str,
    share: float,
    is_grouped: bool,
    fold_above: float | None,
    words: str,
    limit: int,
    seed: int,
) -> None:
    """Every step at once: a filter, both rankings, groups, duplicates, pages."""
    random = np.random.default_rng(seed)
    gallery = pair.gallery(target)  # type: ignore[arg-type]
    is_allowed = random.random(gallery.row_count) < share
    is_allowed[random.integers(0, gallery.row_count)] = True
    embedding = random.standard_normal(gallery.dim).astype(np.float32)
    embedding /= np.linalg.norm(embedding)
    arrangement = Arrangement(is_grouped=is_grouped, fold_above=fold_above, is_hybrid=True)
    mask = RowMask(is_allowed, gallery.row_count)
    (found,) = asyncio.run(
        pair.searcher.search(gallery, [embedding], arrangement.depth(limit), allowed=mask)
    )
    arranger = Arranger(pair, gallery, arrangement, mask)
    hits, offset = [], 0
    while offset is not None:
        page = arranger.page(found, embedding, words, limit=limit, offset=offset)
        hits += page.hits
        offset = page.next_offset
    expected = slow_list(
        pair.index,
        target,
        embedding,
        words,
        is_allowed=is_allowed,
        is_grouped=is_grouped,
        fold_above=fold_above,
    )
    assert [(h.row, h.score, [d.row for d in h.duplicates or ()]) for h in hits] == expected
