import base64
import io
import json
from pathlib import Path

import httpx
import pytest
from PIL import Image

from index_builder.index_folder.versions import OpenIndex
from model.hrem import HREM
from model.identifiers import image_id_for_path
from tests.unit.service.conftest import brute_force, encoded
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio
FIRST = image_id_for_path("picture-00.png")


async def upload(
    client: httpx.AsyncClient, *pictures: bytes, params: dict | None = None
) -> httpx.Response:
    files: list = [("file", (f"{place}.png", content)) for place, content in enumerate(pictures)]
    data = {} if params is None else {"params": json.dumps(params)}
    return await client.post("/search/image", files=files, data=data)


async def test_an_upload_finds_captions_with_the_scores_of_brute_force(
    client: httpx.AsyncClient, opened: OpenIndex, hrem: HREM
) -> None:
    captions = opened.captions
    assert captions is not None
    answer = await upload(client, encoded(made_up_picture(0)), params={"limit": 100})
    hits = answer.json()["results"][0]["hits"]
    by_row = {item.row: item.id for item in captions.items([hit["id"] for hit in hits]).values()}
    vectors = captions.vectors([by_row[row] for row in range(captions.count)])
    query = hrem.encode_images([made_up_picture(0)]).numpy()[0]
    expected = [(by_row[row], score) for row, score in brute_force(query, vectors)]
    assert [(hit["id"], hit["score"]) for hit in hits] == expected


async def test_upload_base64_and_id_of_the_same_picture_find_the_same(
    client: httpx.AsyncClient, world: Path
) -> None:
    content = (world / "images" / "picture-00.png").read_bytes()
    text = base64.encodebytes(content).decode()
    answers = [
        await upload(client, content, params={"limit": 5}),
        await client.post("/search/image", json={"image": {"base64": text}, "limit": 5}),
        await client.post("/search/image", json={"image": {"id": FIRST}, "limit": 5}),
    ]
    first, second, third = [answer.json()["results"][0]["hits"] for answer in answers]
    assert first == second
    # The stored vector was encoded in another batch.
    for hit, stored in zip(first, third, strict=True):
        assert hit["id"] == stored["id"]
        assert hit["score"] == pytest.approx(stored["score"], abs=1e-5)


async def test_an_indexed_image_finds_itself_first(client: httpx.AsyncClient) -> None:
    body = {"image": {"id": FIRST}, "target": "images", "limit": 1}
    (hit,) = (await client.post("/search/image", json=body)).json()["results"][0]["hits"]
    assert hit["id"] == FIRST
    assert hit["score"] == pytest.approx(1.0, abs=1e-6)


async def test_a_batch_of_uploads_answers_what_each_answers_alone(
    client: httpx.AsyncClient,
) -> None:
    # More than one group of decoded pictures.
    pictures = [encoded(made_up_picture(number)) for number in range(11)]
    together = (await upload(client, *pictures)).json()["results"]
    assert len(together) == 11
    for content, of_batch in zip(pictures, together, strict=True):
        alone = (await upload(client, content)).json()["results"][0]
        for one, other in zip(alone["hits"], of_batch["hits"], strict=True):
            assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert {hit["id"] for hit in alone["hits"]} == {hit["id"] for hit in of_batch["hits"]}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "JPEG", "WEBP"])
async def test_every_listed_format_is_read(client: httpx.AsyncClient, kind: str) -> None:
    answer = await upload(client, encoded(made_up_picture(0), kind))
    assert answer.status_code == 200
    assert len(answer.json()["results"][0]["hits"]) == 10


async def test_exif_orientation_is_applied(client: httpx.AsyncClient) -> None:
    picture = made_up_picture(0).resize((48, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    turned = encoded(picture.transpose(Image.Transpose.ROTATE_90), exif=exif)
    scores = [
        [hit["score"] for hit in (await upload(client, content)).json()["results"][0]["hits"]]
        for content in (encoded(picture), turned)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


async def test_uploads_never_touch_the_disk(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was made")

    for name in ("TemporaryFile", "SpooledTemporaryFile", "NamedTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    noise = Image.effect_noise((1500, 1500), 80)
    content = io.BytesIO()
    noise.save(content, "PNG")
    assert len(content.getvalue()) > 1_500_000
    assert (await upload(client, content.getvalue())).status_code == 200
