import io
import json
import os
import shutil
from pathlib import Path

import httpx
import pytest
from PIL import Image

from index_builder.build import build_index
from index_builder.index_folder.versions import OpenIndex
from model.identifiers import image_id_for_path
from tests.unit.index_builder.sources.layouts import write_samples
from tests.unit.service.conftest import ClientOf, MakeApp
from tests.unit.service.test_bad_input import check_problem
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio
FIRST = image_id_for_path("picture-00.png")


def picture_of(answer: httpx.Response) -> Image.Image:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/jpeg"
    picture = Image.open(io.BytesIO(answer.content), formats=["JPEG"])
    picture.load()
    return picture


async def test_pictures_and_thumbnails_show_the_indexed_picture(client: httpx.AsyncClient) -> None:
    for path in (f"/images/{FIRST}", f"/images/{FIRST}/thumbnail"):
        picture = picture_of(await client.get(path))
        assert picture.size == (48, 48)
        centre = picture.getpixel((24, 24))
        assert centre == pytest.approx(made_up_picture(0).getpixel((24, 24)), abs=12)


async def test_an_unchanged_picture_is_not_sent_twice(client: httpx.AsyncClient) -> None:
    for path in (f"/images/{FIRST}", f"/images/{FIRST}/thumbnail"):
        first = await client.get(path)
        again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        other = await client.get(path, headers={"if-none-match": '"another"'})
        assert other.content == first.content


async def test_an_item_tells_what_is_known_about_it(
    client: httpx.AsyncClient, opened: OpenIndex
) -> None:
    image = {
        "id": FIRST, "url": f"/images/{FIRST}", "thumbnail_url": f"/images/{FIRST}/thumbnail",
        "width": 48, "height": 48,
    }  # fmt: skip
    answer = await client.get(f"/items/images/{FIRST}")
    assert answer.json() == {
        "id": FIRST, "caption": None, "image": image, "image_id": None, "metadata": {},
    }  # fmt: skip
    body = {"image": {"id": FIRST}, "limit": 1}
    (hit,) = (await client.post("/search/image", json=body)).json()["results"][0]["hits"]
    answer = (await client.get(f"/items/captions/{hit['id']}")).json()
    assert list(answer) == ["id", "caption", "image", "image_id", "metadata"]
    for name in ("caption", "image", "image_id", "metadata"):
        assert answer[name] == hit[name]


@pytest.fixture(scope="module")
def album(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of photos: a place in their EXIF, one of them lying on its side."""
    folder = tmp_path_factory.mktemp("album")
    (folder / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010F] = "secret camera"
    lying = made_up_picture(0).resize((64, 32))
    lying.save(folder / "photos" / "a.jpg", exif=exif, comment="secret")
    made_up_picture(1).save(folder / "photos" / "b.jpg")
    made_up_picture(2).save(folder / "photos" / "c.jpg")
    build_index(checkpoint=checkpoint, output=folder / "index", images=folder / "photos")
    return folder


@pytest.fixture
def photos(album: Path, tmp_path: Path) -> Path:
    """A copy of the photos that a test may change."""
    return Path(shutil.copytree(album / "photos", tmp_path / "photos"))


async def test_pictures_are_served_upright_and_without_exif(
    album: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    photo = image_id_for_path("a.jpg")
    async with connect(make_app(index=album / "index")) as client:
        for path in (f"/images/{photo}", f"/images/{photo}/thumbnail"):
            answer = await client.get(path)
            assert picture_of(answer).size == (32, 64)
            assert not picture_of(answer).getexif()
            assert b"secret" not in answer.content
        item = (await client.get(f"/items/images/{photo}")).json()
        assert (item["image"]["width"], item["image"]["height"]) == (32, 64)


async def test_pictures_in_shards_are_served_by_their_display_copies(
    photos: Path, checkpoint: Path, make_app: MakeApp, connect: ClientOf, tmp_path: Path
) -> None:
    made_up_picture(3, side=2048).save(photos / "d.png")
    rows = [{"path": f"{name}", "id": name} for name in ("a.jpg", "b.jpg", "c.jpg", "d.png")]
    shards = write_samples(photos, rows)
    build_index(checkpoint=checkpoint, output=tmp_path / "packed", images=shards)
    app = make_app(index=tmp_path / "packed")
    sizes = {"a.jpg": (32, 64), "b.jpg": (48, 48), "c.jpg": (48, 48), "d.png": (1024, 1024)}
    async with connect(app) as client:
        first = {name: await client.get(f"/images/{name}") for name in sizes}
        shutil.rmtree(shards)
        for name, size in sizes.items():
            answer = await client.get(f"/images/{name}")
            assert picture_of(answer).size == size
            assert not picture_of(answer).getexif() and b"secret" not in answer.content
            assert answer.content == first[name].content
            assert answer.headers["cache-control"] == "private, max-age=300"
            etag = answer.headers["etag"]
            again = await client.get(f"/images/{name}", headers={"if-none-match": etag})
            assert (again.status_code, again.content) == (304, b"")
            assert again.headers["etag"] == etag
        check_problem(await client.get("/images/nobody"), 404, "unknown_item")


async def test_a_picture_whose_source_is_gone_is_410_and_its_thumbnail_stays(
    album: Path, photos: Path, make_app: MakeApp, connect: ClientOf, tmp_path: Path
) -> None:
    app = make_app(index=album / "index", images_root=photos)
    (photos / "a.jpg").unlink()
    (photos / "b.jpg").write_text("no picture any more")
    # A link may point out of the root after the index was built.
    outside = tmp_path / "outside.jpg"
    made_up_picture(2).save(outside)
    (photos / "c.jpg").unlink()
    (photos / "c.jpg").symlink_to(outside)
    async with connect(app) as client:
        for name in ("a.jpg", "b.jpg", "c.jpg"):
            photo = image_id_for_path(name)
            check_problem(await client.get(f"/images/{photo}"), 410, "source_gone")
            picture_of(await client.get(f"/images/{photo}/thumbnail"))
            body = {"image": {"id": photo}, "target": "images", "limit": 1}
            assert (await client.post("/search/image", json=body)).status_code == 200


async def test_another_photograph_in_its_place_is_not_the_picture_that_was_found(
    album: Path, photos: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    replaced, kept = image_id_for_path("b.jpg"), image_id_for_path("c.jpg")
    # Restored from a backup: the same bytes, another time.
    os.utime(photos / "c.jpg", (0, 0))
    async with connect(make_app(index=album / "index", images_root=photos)) as client:
        before = await client.get(f"/images/{replaced}")
        made_up_picture(4).save(photos / "b.jpg")
        answer = await client.get(f"/images/{replaced}")
        check_problem(answer, 410, "source_gone")
        assert "was replaced since it was indexed" in answer.json()["detail"]
        # Who has the picture that was indexed may keep it.
        headers = {"if-none-match": before.headers["etag"]}
        assert (await client.get(f"/images/{replaced}", headers=headers)).status_code == 304
        assert picture_of(await client.get(f"/images/{kept}")).size == (48, 48)


async def test_moved_pictures_are_found_under_their_new_root(
    album: Path, photos: Path, make_app: MakeApp, connect: ClientOf, tmp_path: Path
) -> None:
    photo = image_id_for_path("a.jpg")
    for root, status in ((tmp_path, 410), (photos, 200)):
        async with connect(make_app(index=album / "index", images_root=root)) as client:
            assert (await client.get(f"/images/{photo}")).status_code == status


async def test_metadata_of_the_source_come_with_the_hits(
    world: Path, checkpoint: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    rows = [
        {"path": f"picture-{number:02d}.png", "id": f"p.{number}", "objects": ["red circle"]}
        for number in (0, 1, 2)
    ]
    listed = tmp_path / "images.jsonl"
    listed.write_text("".join(json.dumps(row) + "\n" for row in rows))
    build_index(
        checkpoint=checkpoint,
        output=tmp_path / "index",
        images=listed,
        images_root=world / "images",
    )
    async with connect(make_app(index=tmp_path / "index")) as client:
        answer = await client.post("/search/text", json={"query": "red"})
        for hit in answer.json()["results"][0]["hits"]:
            assert hit["metadata"] == {"objects": ["red circle"]}
        info = (await client.get("/info")).json()
        assert info["galleries"]["images"]["columns"] == ["objects"]
