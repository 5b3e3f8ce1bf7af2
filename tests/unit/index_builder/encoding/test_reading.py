"""What lies in a folder of pictures is never trusted."""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from index_builder.encoding.reading import PictureReader
from index_builder.sources import ImageEntry, open_image_source
from index_builder.sources.stamps import SourceWatch, stamp_of
from model.config import PreprocessorConfig
from model.errors import DataError
from model.inputs.pictures import PictureTransform
from tests.unit.index_builder.sources.layouts import write_samples
from tests.worlds import made_up_picture

TRANSFORM = PictureTransform(PreprocessorConfig(image_size=32, resize="squash"))


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    made_up_picture(0).save(folder / "good.png")
    return folder


def reader(photos, *, max_pixels=10_000):
    return PictureReader(open_image_source(photos), TRANSFORM, max_pixels=max_pixels)


def read(photos, name, **settings):
    return reader(photos, **settings).read(ImageEntry("x", name))


def test_a_picture_becomes_its_hash_its_size_its_thumbnail_and_its_pixels(photos):
    found = read(photos, "good.png")
    picture = Image.open(photos / "good.png").convert("RGB")
    assert found.content == hashlib.sha256((photos / "good.png").read_bytes()).digest()
    assert (found.width, found.height, found.reason) == (48, 48, None)
    assert Image.open(io.BytesIO(found.thumbnail)).size == (48, 48)
    np.testing.assert_array_equal(found.payload, TRANSFORM(picture))
    assert found.stamp == stamp_of(photos, "good.png")


def test_a_display_copy_is_made_of_a_picture_in_a_shard_and_of_no_other(photos):
    shards = open_image_source(write_samples(photos, [{"path": "good.png"}], shard_count=1))
    (entry,) = shards.entries()
    packed = PictureReader(shards, TRANSFORM, max_pixels=10_000).read(entry)
    alone = read(photos, "good.png")
    assert Image.open(io.BytesIO(packed.display_copy)).size == (48, 48)
    assert alone.display_copy is None
    assert (packed.content, packed.thumbnail) == (alone.content, alone.thumbnail)
    np.testing.assert_array_equal(packed.payload, alone.payload)


def make_hostile(photos, name):
    """Put something at `name` that is no picture."""
    place = photos / name
    whole = (photos / "good.png").read_bytes()
    if name == "empty.jpg":
        place.write_bytes(b"")
    elif name == "text.jpg":
        place.write_text("no picture")
    elif name == "cut.png":
        place.write_bytes(whole[: len(whole) // 2])
    elif name == "bomb.png":
        Image.new("L", (4_000, 4_000)).save(place)
    elif name == "folder.jpg":
        place.mkdir()
    elif name == "pipe.jpg":
        os.mkfifo(place)
    elif name == "long.jpg":
        with place.open("wb") as file:
            file.truncate(1 << 40)  # a terabyte of nothing
    elif name == "loop.jpg":
        place.symlink_to(place)
    elif name == "out.jpg":
        place.symlink_to(photos.parent / "secret.jpg")
        (photos.parent / "secret.jpg").write_bytes(whole)


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("empty.jpg", "unreadable", "is empty"),
        ("text.jpg", "unreadable", "not a picture of a known format"),
        ("cut.png", "unreadable", "damaged or truncated"),
        (
            "bomb.png",
            "too_many_pixels",
            "16.0 megapixels, more than 0.0; make it smaller, or raise --max-pixels",
        ),
        ("folder.jpg", "unreadable", "cannot be read: Is a directory"),
        ("pipe.jpg", "unreadable", "is no file"),
        ("long.jpg", "too_large", "more than the 537 MB of a picture"),
        ("loop.jpg", "unreadable", "symbolic links"),
        ("out.jpg", "outside_root", "leads out of the images' root"),
        ("nothing.jpg", "missing", "no such file"),
        ("good.png/inside.jpg", "unreadable", "cannot be read: Not a directory"),
        ("n" * 300, "unreadable", "cannot be read: File name too long"),
    ],
)
def test_what_is_no_picture_is_set_aside_with_its_reason(photos, name, code, sentence):
    make_hostile(photos, name)
    found = read(photos, name)
    assert found.reason.code == code
    assert sentence in found.reason.sentence
    assert "uploaded" not in found.reason.sentence
    assert found.payload is None and found.thumbnail is None and found.display_copy is None


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unreadable to root")
def test_a_file_without_permission_is_set_aside(photos):
    (photos / "good.png").chmod(0)
    found = read(photos, "good.png")
    assert (found.reason.code, found.stamp[0]) == ("unreadable", -1)
    (photos / "good.png").chmod(0o600)
    assert stamp_of(photos, "good.png") != found.stamp


@dataclass(frozen=True)
class RewrittenSource:
    """A folder in which every picture is written to just before its bytes are read."""

    root: Path
    description = "photos"

    def entries(self):
        return iter(())

    def read(self, entry):
        content = (self.root / entry.path).read_bytes()
        (self.root / entry.path).write_bytes(content + b"x")
        return content


def test_a_file_that_is_written_to_while_it_is_read_is_set_aside(photos):
    source = RewrittenSource(photos)
    found = PictureReader(source, TRANSFORM, max_pixels=10_000).read(ImageEntry("x", "good.png"))
    assert (found.reason.code, found.content) == ("changed", None)
    assert found.stamp != stamp_of(photos, "good.png")  # so that it is read again


def test_a_stamp_tells_a_change_and_a_member_of_a_shard_has_that_of_the_shard(photos):
    before = stamp_of(photos, "good.png")
    os.utime(photos / "good.png", ns=(0, 5))
    assert stamp_of(photos, "good.png") == (before[0], 5)
    (photos / "0.tar").write_bytes(b"123")
    assert stamp_of(photos, "0.tar/member.jpg") == stamp_of(photos, "0.tar")


def test_a_missing_picture_is_its_own_fault_unless_the_whole_folder_went_away(photos):
    watch = SourceWatch(photos)
    watch.check(stamp_of(photos, "nothing.jpg"))
    photos.rename(photos.with_name("elsewhere"))
    with pytest.raises(DataError, match=r"went away while it was read .* what is encoded is kept"):
        watch.check(stamp_of(photos, "good.png"))
    photos.mkdir()  # what is left where a disk was mounted: another folder of the same name
    with pytest.raises(DataError, match="went away"):
        watch.check(stamp_of(photos, "good.png"))
