"""The bytes of an indexed picture are read again, or it is told why not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from index_builder.build import build_index
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.index_folder.versions import IndexFolder
from index_builder.listing.source_bytes import read_source
from index_builder.sources import EntryError
from tests.unit.index_builder.sources.layouts import write_samples
from tests.worlds import made_up_picture

COUNT = 4


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        made_up_picture(number).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def shards(photos: Path) -> Path:
    return write_samples(photos, [{"path": path.name} for path in sorted(photos.iterdir())])


@pytest.fixture
def images(checkpoint: Path, tmp_path: Path) -> Callable[..., Gallery]:
    def build(source: Path, **more: Path) -> Gallery:
        build_index(checkpoint=checkpoint, images=source, output=tmp_path / "index", **more)
        gallery = IndexFolder(tmp_path / "index").open().images
        assert gallery is not None
        return gallery

    return build


def items_of(gallery: Gallery) -> list[Item]:
    return gallery.items_of_rows(0, COUNT)


def code(item: Item, root: Path | None) -> str:
    with pytest.raises(EntryError) as caught:
        read_source(item, root)
    return caught.value.rejection.code


@pytest.mark.parametrize("is_packed", [False, True])
def test_the_very_bytes_come_back_from_a_file_and_from_a_shard(
    is_packed: bool, photos: Path, shards: Path, images: Callable[..., Gallery]
) -> None:
    # Below a root of its own the shard's name has folders before it.
    gallery = images(shards if is_packed else photos, images_root=photos.parent)
    read = [read_source(item, gallery.images_root) for item in items_of(gallery)]
    assert read == [path.read_bytes() for path in sorted(photos.iterdir())]


def test_a_picture_that_is_gone_or_changed_or_leads_out_is_not_read(
    photos: Path, images: Callable[..., Gallery], tmp_path: Path
) -> None:
    gallery = images(photos)
    items = items_of(gallery)
    (photos / "0.png").unlink()
    (photos / "1.png").write_bytes((photos / "2.png").read_bytes())
    (photos / "3.png").rename(tmp_path / "3.png")
    (photos / "3.png").symlink_to(tmp_path / "3.png")
    assert [code(items[place], gallery.images_root) for place in (0, 1, 3)] == [
        "missing", "changed", "outside_root",
    ]  # fmt: skip
    assert read_source(items[2], gallery.images_root) == (photos / "2.png").read_bytes()
    assert code(items[2], None) == "missing"


def test_a_shard_that_is_gone_or_written_again_is_not_read(
    shards: Path, images: Callable[..., Gallery]
) -> None:
    gallery = images(shards)
    items = items_of(gallery)
    (shards / "part-000.tar").unlink()
    second = shards / "part-001.tar"
    second.write_bytes(b"?" * second.stat().st_size)
    assert [code(item, gallery.images_root) for item in items] == ["missing"] * COUNT
