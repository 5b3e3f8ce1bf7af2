"""Embeddings as they are searched with."""

import base64
import json

import httpx
import numpy as np
import pytest

from index_builder.index_folder.versions import OpenIndex
from model.hrem import HREM
from model.identifiers import image_id_for_path
from tests.unit.service.conftest import encoded
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio
FIRST = image_id_for_path("picture-00.png")


async def embedded(client: httpx.AsyncClient, path: str, **request: object) -> dict:
    answer = await client.post(f"/embed/{path}", **request)  # type: ignore[arg-type]
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_sentences_are_embedded_as_the_encoder_embeds_them(
    client: httpx.AsyncClient, hrem: HREM, opened: OpenIndex
) -> None:
    queries = ["a red circle", "two blue squares", "a red circle"]
    answer = await embedded(client, "text", json={"query": queries})
    assert list(answer) == ["embeddings", "dim", "checkpoint", "warnings"]
    assert (answer["dim"], answer["warnings"]) == (16, [])
    assert answer["checkpoint"] == opened.checkpoint_fingerprint[:16]
    expected = hrem.encode_captions(queries).numpy()
    np.testing.assert_allclose(answer["embeddings"], expected, atol=1e-5)
    assert answer["embeddings"][0] == answer["embeddings"][2]


async def test_one_sentence_gives_one_embedding_with_which_the_service_searches(
    client: httpx.AsyncClient, opened: OpenIndex
) -> None:
    answer = await embedded(client, "text", json={"query": "a red circle"})
    (embedding,) = answer["embeddings"]
    found = await client.post("/search/text", json={"query": "a red circle", "limit": 1})
    (hit,) = found.json()["results"][0]["hits"]
    images = opened.images
    assert images is not None
    wide = images.vectors([hit["id"]])[0].astype(np.float64)
    assert float(np.float32(wide @ np.array(embedding))) == pytest.approx(hit["score"], abs=1e-7)


async def test_a_sentence_that_was_cut_warns_once(client: httpx.AsyncClient) -> None:
    long = "a red circle " * 100
    answer = await embedded(client, "text", json={"query": [long, "red", long + "too"]})
    assert answer["warnings"] == ["caption_truncated"]
    assert len(answer["embeddings"]) == 3


async def test_pictures_are_embedded_as_the_encoder_embeds_them(
    client: httpx.AsyncClient, hrem: HREM
) -> None:
    pictures = [made_up_picture(number) for number in range(3)]
    files = [("file", (f"{n}.png", encoded(one))) for n, one in enumerate(pictures)]
    expected = hrem.encode_images(pictures).numpy()
    answer = await embedded(client, "image", files=files, data={"params": "{}"})
    np.testing.assert_allclose(answer["embeddings"], expected, atol=1e-5)
    text = base64.b64encode(encoded(pictures[1])).decode()
    answer = await embedded(client, "image", json={"image": {"base64": text}})
    np.testing.assert_allclose(answer["embeddings"], expected[1:2], atol=1e-5)


async def test_an_indexed_image_gives_its_stored_embedding(
    client: httpx.AsyncClient, opened: OpenIndex
) -> None:
    images = opened.images
    assert images is not None
    answer = await embedded(client, "image", json={"image": {"id": FIRST}})
    assert answer["embeddings"] == images.vectors([FIRST]).tolist()


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        ("text", {"json": {"query": ""}}, 422, "invalid_request"),
        ("text", {"json": {"query": "red", "limit": 1}}, 422, "invalid_request"),
        ("text", {"json": {"query": ["red"] * 33}}, 413, "too_many_queries"),
        ("text", {"content": b"red"}, 415, "unsupported_media_type"),
        ("image", {"files": {"file": b"no picture"}}, 400, "unreadable_image"),
        ("image", {"json": {"image": {"id": "unknown"}}}, 404, "unknown_item"),
        ("image", {"json": {"image": {"id": FIRST}, "target": "images"}}, 422, "invalid_request"),
        ("image", {"content": b"", "headers": {"Content-Type": "application/x-npy"}}, 422,
         "unsupported_input"),
    ],
)  # fmt: skip
async def test_what_cannot_be_embedded_is_refused(
    client: httpx.AsyncClient, path: str, request_: dict, status: int, code: str
) -> None:
    answer = await client.post(f"/embed/{path}", **request_)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_pictures_to_embed_have_no_fields_beside_them(client: httpx.AsyncClient) -> None:
    data = {"params": json.dumps({"limit": 5})}
    files = {"file": encoded(made_up_picture(0))}
    answer = await client.post("/embed/image", files=files, data=data)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "params.limit"
