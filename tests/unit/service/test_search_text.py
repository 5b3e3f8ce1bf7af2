import httpx
import numpy as np
import pytest

from index_builder.index_folder.versions import OpenIndex
from model.hrem import HREM
from service.schemas import TextSearch
from service.searches.ranking import offset_after
from tests.unit.service.conftest import brute_force

pytestmark = pytest.mark.anyio


async def search(client: httpx.AsyncClient, **body: object) -> dict:
    answer = await client.post("/search/text", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids_and_scores(result: dict) -> list[tuple[str, float]]:
    return [(hit["id"], hit["score"]) for hit in result["hits"]]


@pytest.mark.parametrize("target", ["images", "captions"])
async def test_scores_and_order_equal_brute_force_over_the_stored_vectors(
    client: httpx.AsyncClient, opened: OpenIndex, hrem: HREM, target: str
) -> None:
    gallery = opened.gallery(target)
    assert gallery is not None
    # A sentence of its own: others may be kept from a batch, where the last bits differ.
    sentence = "one red circle for brute force"
    answer = await search(client, query=sentence, target=target, limit=100)
    hits = answer["results"][0]["hits"]
    assert len(hits) == gallery.count
    by_row = {item.row: item.id for item in gallery.items([hit["id"] for hit in hits]).values()}
    vectors = gallery.vectors([by_row[row] for row in range(gallery.count)])
    query = hrem.encode_captions([sentence]).numpy()[0]
    expected = [(by_row[row], score) for row, score in brute_force(query, vectors)]
    assert ids_and_scores(answer["results"][0]) == expected
    assert [hit["rank"] for hit in hits] == list(range(1, gallery.count + 1))


async def test_a_batch_answers_what_its_queries_answer_alone(client: httpx.AsyncClient) -> None:
    queries = ["a red circle", "there is a square and it is blue", "triangle"]
    together = await search(client, query=queries, limit=5)
    assert [result["query_index"] for result in together["results"]] == [0, 1, 2]
    for query, of_batch in zip(queries, together["results"], strict=True):
        alone = (await search(client, query=query, limit=5))["results"][0]
        for one, other in zip(alone["hits"], of_batch["hits"], strict=True):
            assert one["id"] == other["id"]
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)


async def test_the_answer_has_its_whole_shape(client: httpx.AsyncClient, opened: OpenIndex) -> None:
    answer = await search(client, query="a red circle", limit=1)
    assert list(answer) == ["results", "index", "timing_ms"]
    fingerprint = opened.checkpoint_fingerprint
    assert answer["index"] == {"version": opened.version, "checkpoint": fingerprint[:16]}
    assert list(answer["timing_ms"]) == ["queue", "decode", "encode", "search", "fetch", "total"]
    (result,) = answer["results"]
    assert list(result) == ["query_index", "hits", "next_offset", "fits", "warnings"]
    assert (result["fits"], result["warnings"], result["next_offset"]) == (None, [], 1)
    (hit,) = result["hits"]
    assert list(hit) == [
        "rank", "id", "score", "relevance", "image", "caption", "image_id", "metadata",
        "duplicates", "captions", "explanation",
    ]  # fmt: skip
    url = f"/images/{hit['id']}"
    assert hit["image"] == {
        "id": hit["id"], "url": url, "thumbnail_url": f"{url}/thumbnail", "width": 48, "height": 48,
    }  # fmt: skip
    for not_applicable in ("relevance", "caption", "image_id", "duplicates", "captions"):
        assert hit[not_applicable] is None


async def test_a_caption_hit_carries_the_image_that_it_names(
    client: httpx.AsyncClient, opened: OpenIndex
) -> None:
    answer = await search(client, query="a red circle", target="captions", limit=60)
    captions = opened.captions
    assert captions is not None
    for hit in answer["results"][0]["hits"]:
        item = captions.item(hit["id"])
        assert item is not None
        assert hit["caption"] == item.caption
        assert hit["image_id"] == hit["image"]["id"] == item.image_id


@pytest.mark.parametrize("limit", [7, 20, 60])
async def test_pages_put_together_are_the_whole_ranking(
    client: httpx.AsyncClient, limit: int
) -> None:
    whole = (await search(client, query="blue square", target="captions", limit=100))["results"][0]
    assert whole["next_offset"] is None
    asked = {"query": "blue square", "target": "captions", "limit": limit}
    pages, offset, version = [], 0, None
    while offset is not None:
        assert offset < 60
        answer = await search(client, **asked, offset=offset, version=version)
        version = answer["index"]["version"]
        pages += answer["results"][0]["hits"]
        offset = answer["results"][0]["next_offset"]
    assert pages == whole["hits"]


@pytest.mark.parametrize("item_count", [1, 99, 100, 999, 1_000, 5_000])
async def test_following_the_next_offset_is_always_allowed_and_ends(item_count: int) -> None:
    for limit in range(1, 101):
        offset, seen = 0, 0
        while offset is not None:
            TextSearch(query=["red"], limit=limit, offset=offset)
            seen += max(0, min(limit, item_count - offset))
            offset = offset_after(limit=limit, offset=offset, hit_count=item_count)
        assert seen == min(item_count, 1_000 // limit * limit)


async def test_beyond_the_last_item_a_page_is_empty(client: httpx.AsyncClient) -> None:
    result = (await search(client, query="blue", offset=900))["results"][0]
    assert result["hits"] == []
    assert result["next_offset"] is None


@pytest.mark.parametrize("part", ["image", "caption", "metadata"])
async def test_include_fills_in_only_what_was_asked_for(
    client: httpx.AsyncClient, part: str
) -> None:
    answer = await search(client, query="red", target="captions", limit=3, include=[part])
    for hit in answer["results"][0]["hits"]:
        filled = {name for name in ("image", "caption", "metadata") if hit[name] is not None}
        assert filled == {part}
        assert hit["image_id"] is not None


async def test_a_ten_thousand_word_query_is_cut_and_says_so(
    client: httpx.AsyncClient, hrem: HREM
) -> None:
    long = "a red circle " * 3_334
    answer = await search(client, query=["a red circle", long])
    short_result, long_result = answer["results"]
    assert short_result["warnings"] == []
    assert long_result["warnings"] == ["caption_truncated"]
    assert len(long_result["hits"]) == 10


async def test_megabytes_of_words_are_answered_within_the_deadline(
    client: httpx.AsyncClient,
) -> None:
    result = (await search(client, query="red " * 2_000_000))["results"][0]
    assert result["warnings"] == ["caption_truncated"]


@pytest.mark.parametrize("query", ["???", "猫", "🙂", "\x00", "a\nb", "'; drop table items; --"])
async def test_any_text_is_a_query(client: httpx.AsyncClient, query: str) -> None:
    result = (await search(client, query=query))["results"][0]
    assert np.isfinite([hit["score"] for hit in result["hits"]]).all()
    assert len(result["hits"]) == 10
