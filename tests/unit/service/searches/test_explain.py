"""`explain`: every matrix sums to the score that was answered, and nothing is explained wrongly."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from index_builder.build import build_index
from model.explanation import Explainer, explain
from model.hrem import HREM
from model.identifiers import image_id_for_path
from model.inputs.pictures import open_picture
from service.explanation_answer import DECIMALS, rounded
from tests.tiny_pretrained import tiny_pretrained
from tests.unit.data.layouts import REGION_DIM, captions_for, made_up_regions, write_scan
from tests.unit.index_builder.sources.layouts import write_samples
from tests.unit.service.conftest import ClientOf, MakeApp, encoded
from tests.unit.service.test_bad_input import check_problem
from tests.worlds import made_up_picture, tiny_checkpoint

pytestmark = pytest.mark.anyio
FIRST = image_id_for_path("picture-00.png")
QUERY = "a RED circle, on grey"
SMALL = encoded(made_up_picture(0))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five pictures of this test's own, to be spoiled."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        made_up_picture(number).save(folder / f"{number}.png")
    return folder


async def search(client: httpx.AsyncClient, kind: str, **body: Any) -> list[dict[str, Any]]:
    """Return the results of a search with explanations."""
    answer = await client.post(f"/search/{kind}", json={"explain": True, **body})
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def upload(client: httpx.AsyncClient, *pictures: bytes, **params: Any) -> list[dict]:
    files = [("file", (f"{place}.png", content)) for place, content in enumerate(pictures)]
    data = {"params": json.dumps({"explain": True, **params})}
    answer = await client.post("/search/image", files=files, data=data)
    assert answer.status_code == 200, answer.text
    results: list[dict] = answer.json()["results"]
    return results


def check_sum(hit: dict[str, Any]) -> dict[str, Any]:
    """Check one explained hit against the score of the search, and return its explanation."""
    explanation = hit["explanation"]
    matrix = np.array(explanation["matrix"])
    assert matrix.shape == (len(explanation["regions"]), len(explanation["words"]))
    assert matrix.sum() == pytest.approx(hit["score"], abs=1e-4)
    assert explanation["score"] == pytest.approx(hit["score"], abs=1e-4)
    assert np.abs(matrix).max() > 1e-3
    assert list(explanation) == ["score", "matrix", "words", "regions"]
    return dict(explanation)


def explained_count(results: list[dict]) -> list[int]:
    return [sum(hit["explanation"] is not None for hit in one["hits"]) for one in results]


async def test_a_sentence_explains_the_images_it_finds_word_by_cell(
    client: httpx.AsyncClient, world: Path, hrem: HREM
) -> None:
    [result] = await search(client, "text", query=QUERY)
    assert result["warnings"] == []
    assert len(result["hits"]) == 10
    words = Explainer(hrem).of_captions([QUERY])[0]
    paths = {image_id_for_path(path.relative_to(world / "images").as_posix()): path
             for path in (world / "images").rglob("*.png")}  # fmt: skip
    for hit in result["hits"]:
        explanation = check_sum(hit)
        spans = [QUERY[word["start"] : word["end"]] for word in explanation["words"]]
        assert spans == ["", "a", "RED", "circle", "on", "grey", ""]
        marks = [explanation["words"][place]["text"] for place in (0, -1)]
        assert marks == ["<start>", "<end>"]
        side = round(len(explanation["regions"]) ** 0.5)
        assert explanation["regions"][1] == {
            "row": 0, "column": 1, "box": [1 / side, 0, 2 / side, 1 / side],
        }  # fmt: skip
        [image] = Explainer(hrem).of_pictures([open_picture(paths[hit["id"]])])
        expected = explain(image, words).matrix
        assert torch.allclose(torch.tensor(explanation["matrix"]), expected, atol=1e-5)


async def test_uploads_explain_the_captions_they_find(client: httpx.AsyncClient) -> None:
    pictures = [encoded(made_up_picture(number)) for number in (3, 7)]
    results = await upload(client, *pictures, limit=5)
    assert explained_count(results) == [5, 5]
    for result in results:
        assert result["warnings"] == []
        for hit in result["hits"]:
            words = check_sum(hit)["words"]
            spans = [hit["caption"][word["start"] : word["end"]] for word in words]
            assert " ".join(spans).strip() == hit["caption"]


async def test_an_indexed_image_and_its_bytes_have_the_same_explanations(
    client: httpx.AsyncClient, world: Path
) -> None:
    content = (world / "images" / "picture-00.png").read_bytes()
    text = base64.b64encode(content).decode()
    [by_id] = await search(client, "image", image={"id": FIRST}, limit=3)
    [by_bytes] = await search(client, "image", image={"base64": text}, limit=3)
    for one, other in zip(by_id["hits"], by_bytes["hits"], strict=True):
        assert check_sum(one) == check_sum(other)


async def test_the_first_ten_hits_of_a_request_are_explained_rank_by_rank(
    client: httpx.AsyncClient,
) -> None:
    [one] = await search(client, "text", query=QUERY, limit=12)
    assert [hit["explanation"] is not None for hit in one["hits"]] == [True] * 10 + [False] * 2
    assert one["warnings"] == ["explanation_limited"]
    results = await search(client, "text", query=["red", "a circle", "grey"], limit=4)
    assert explained_count(results) == [4, 3, 3]
    assert [result["warnings"] for result in results] == [[], *[["explanation_limited"]] * 2]
    for result in results:
        for hit in result["hits"][:3]:
            check_sum(hit)
    results = await upload(client, *[SMALL] * 12, limit=1)
    assert explained_count(results) == [1] * 10 + [0] * 2
    [page] = await search(client, "text", query=QUERY, limit=5, offset=7)
    assert explained_count([page]) == [5]
    assert page["warnings"] == []


async def test_nothing_is_explained_that_was_not_asked_to_be(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search/text", json={"query": QUERY})
    assert explained_count(answer.json()["results"]) == [0]
    [beyond] = await search(client, "text", query=QUERY, offset=12)
    assert (beyond["hits"], beyond["warnings"]) == ([], [])


async def test_a_cut_sentence_is_explained_by_the_words_that_were_read(
    client: httpx.AsyncClient, hrem: HREM
) -> None:
    [result] = await search(client, "text", query="red circle " * 50, limit=1)
    assert result["warnings"] == ["caption_truncated"]
    assert len(check_sum(result["hits"][0])["words"]) == hrem.config.text.max_word_count


async def test_an_explained_search_takes_the_room_of_the_pictures_it_encodes(
    make_app: MakeApp, connect: ClientOf
) -> None:
    app = make_app(max_waiting_items=32)
    app.state.served.admission.waiting_items = 32 - 9
    async with connect(app) as client:
        assert (await client.post("/search/text", json={"query": "red"})).status_code == 200
        answer = await client.post("/search/text", json={"query": "red", "explain": True})
        check_problem(answer, 503, "overloaded")
        app.state.served.admission.waiting_items -= 1
        [result] = await search(client, "text", query="red")
        assert explained_count([result]) == [10]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text", {"query": "red", "target": "captions"}),
        ("image", {"image": {"id": FIRST}, "target": "images"}),
    ],
)
async def test_pairs_of_one_kind_are_refused(
    client: httpx.AsyncClient, kind: str, body: dict[str, Any]
) -> None:
    answer = await client.post(f"/search/{kind}", json={"explain": True, **body})
    problem = check_problem(answer, 422, "cannot_explain")
    assert "only a picture with a caption" in problem["detail"]


async def test_a_clip_like_encoder_says_that_only_hrem_explains(
    tmp_path: Path, world: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    build_index(
        checkpoint=tiny_pretrained(tmp_path), output=tmp_path / "index", images=world / "images"
    )
    async with connect(make_app(index=tmp_path / "index")) as client:
        answer = await client.post("/search/text", json={"query": "red", "explain": True})
        problem = check_problem(answer, 422, "cannot_explain")
        assert "only HREM can" in problem["detail"]


async def test_a_source_that_is_gone_or_changed_leaves_its_hit_unexplained(
    photos: Path, checkpoint: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("a red circle\na green square\n")
    build_index(checkpoint=checkpoint, output=tmp_path / "index", images=photos, captions=captions)
    (photos / "0.png").unlink()
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    (photos / "3.png").rename(tmp_path / "outside.png")
    (photos / "3.png").symlink_to(tmp_path / "outside.png")
    gone = {image_id_for_path(f"{number}.png") for number in (0, 1, 3)}
    async with connect(make_app(index=tmp_path / "index")) as client:
        [result] = await search(client, "text", query=QUERY)
        assert result["warnings"] == ["explanation_source_gone"]
        assert {hit["id"] for hit in result["hits"] if hit["explanation"] is None} == gone
        for hit in result["hits"]:
            if hit["id"] not in gone:
                check_sum(hit)
        [by_id] = await search(client, "image", image={"id": image_id_for_path("0.png")})
        assert explained_count([by_id]) == [0]
        assert by_id["warnings"] == ["explanation_source_gone"]
        assert len(by_id["hits"]) == 2


async def test_a_picture_larger_than_the_limit_is_not_decoded_again(
    photos: Path, checkpoint: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    made_up_picture(1, side=200).save(photos / "1.png")
    build_index(checkpoint=checkpoint, output=tmp_path / "index", images=photos)
    async with connect(make_app(index=tmp_path / "index", max_pixels=20_000)) as client:
        [result] = await search(client, "text", query=QUERY)
    unexplained = [hit["id"] for hit in result["hits"] if hit["explanation"] is None]
    assert unexplained == [image_id_for_path("1.png")]
    assert result["warnings"] == ["explanation_source_gone"]


async def test_pictures_in_shards_are_explained_from_them_or_from_their_copies(
    photos: Path, checkpoint: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    rows = [{"path": path.name} for path in sorted(photos.iterdir())]
    shards = write_samples(photos, rows, shard_count=1)
    build_index(checkpoint=checkpoint, output=tmp_path / "index", images=shards)
    async with connect(make_app(index=tmp_path / "index")) as client:
        [packed] = await search(client, "text", query=QUERY)
        assert packed["warnings"] == []
        assert [len(check_sum(hit)["words"]) for hit in packed["hits"]] == [7] * 5
        (shards / "part-000.tar").unlink()
        [copies] = await search(client, "text", query=QUERY)
    # A JPEG is not the picture that was indexed, and it is said so.
    assert copies["warnings"] == ["explanation_inexact"]
    for hit, exact in zip(copies["hits"], packed["hits"], strict=True):
        assert hit["explanation"]["score"] == pytest.approx(exact["score"], abs=0.05)


class TestRegionFeatures:
    """Region features of a query have their place alone; those of a gallery are not kept."""

    REGIONS = made_up_regions(3)

    @pytest.fixture
    def app(self, tmp_path: Path, make_app: MakeApp) -> Iterator[Any]:
        data = write_scan(tmp_path / "precomp", "test", self.REGIONS, captions_for(3, 2))
        build_index(
            checkpoint=tiny_checkpoint(tmp_path, backbone=None, region_dim=REGION_DIM),
            output=tmp_path / "index",
            images=data / "test_ims.npy",
            captions=data / "test_caps.txt",
        )
        return make_app(index=tmp_path / "index")

    async def test_regions_explain_captions(self, app: Any, connect: ClientOf) -> None:
        content = io.BytesIO()
        np.save(content, self.REGIONS[0][:3])
        async with connect(app) as client:
            answer = await client.post(
                "/search/image",
                content=content.getvalue(),
                headers={"Content-Type": "application/x-npy"},
                params={"params": json.dumps({"explain": True})},
            )
        [result] = answer.json()["results"]
        assert result["warnings"] == []
        for hit in result["hits"]:
            explanation = check_sum(hit)
            assert explanation["regions"] == [{"row": None, "column": None, "box": None}] * 3

    async def test_images_without_pictures_stay_unexplained(
        self, app: Any, connect: ClientOf
    ) -> None:
        async with connect(app) as client:
            [found] = await search(client, "text", query="a caption of image 1")
            [like] = await search(client, "image", image={"id": found["hits"][0]["id"]})
        assert explained_count([found, like]) == [0, 0]
        assert found["warnings"] == like["warnings"] == ["explanation_source_gone"]


def test_rounding_keeps_the_sum_of_any_number_of_entries() -> None:
    matrix = np.random.default_rng(0).normal(scale=1e-4, size=(196, 128)).astype(np.float32)
    told = np.array(rounded(matrix))
    assert abs(told.sum() - matrix.sum(dtype=np.float64)) < 10**-DECIMALS
    assert np.abs(told - matrix).max() <= 10**-DECIMALS
    assert all(len(f"{value:.12g}") <= 12 for value in told.flat)
