"""Pictures in shards are shown by copies in the gallery, all others by their files."""

import io
import os
import resource
import tarfile

import numpy as np
import pytest
from PIL import Image, ImageOps

from index_builder.add import add_items
from index_builder.build import build_index
from index_builder.encoding import reading
from index_builder.index_folder.versions import IndexFolder
from index_builder.remove import remove_items
from index_builder.sources import open_image_source
from model.errors import GalleryIndexError
from model.hrem import HREM
from tests.unit.index_builder.sources.layouts import write_samples, write_tar
from tests.unit.index_builder.written_galleries import display_copy_of, served_files
from tests.worlds import made_up_picture

PART_SIZE = 3
LONGEST = 1024


@pytest.fixture
def photos(tmp_path):
    """Eight pictures in row order: large, lying on its side, small, flat, see-through, equal."""
    folder = tmp_path / "photos"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "secret camera"
    exif.get_ifd(0x8825)[1] = "N"
    sideways = made_up_picture(0).resize((1500, 900))
    sideways.save(folder / "0.jpg", exif=exif, comment="secret")
    made_up_picture(1).save(folder / "1.png")
    made_up_picture(2).resize((2000, 1)).save(folder / "2.png")
    made_up_picture(3, side=LONGEST).convert("RGBA").save(folder / "3.png")
    for number, again in ((4, 1), (5, 5), (6, 6), (7, 3)):
        picture = Image.open(folder / f"{again}.png") if again < number else made_up_picture(again)
        picture.save(folder / f"{number}.png")
    return folder


@pytest.fixture
def shards(photos):
    rows = [{"path": path.name} for path in sorted(photos.iterdir())]
    return write_samples(photos, rows)


@pytest.fixture
def build(checkpoint, tmp_path):
    def run(images, output="index", **more):
        given = {"checkpoint": checkpoint, "output": tmp_path / output, "part_size": PART_SIZE}
        return build_index(images=images, **(given | more))

    return run


@pytest.fixture
def work(monkeypatch):
    """Counts the pictures that are decoded, and those that go through the network."""

    class Work:
        decoded = encoded = 0

        def count(self):
            found = (self.decoded, self.encoded)
            self.decoded = self.encoded = 0
            return found

    done = Work()
    open_picture, encode = reading.open_picture, HREM.encode_pixels

    def counting_open(content, **settings):
        done.decoded += 1
        return open_picture(content, **settings)

    def counting_encode(self, pixels, **settings):
        done.encoded += len(pixels)
        return encode(self, pixels, **settings)

    monkeypatch.setattr(reading, "open_picture", counting_open)
    monkeypatch.setattr(HREM, "encode_pixels", counting_encode)
    return done


def as_png(picture):
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)
    return content.getvalue()


def copies_of(gallery):
    """Return the display copy of every picture, in row order."""
    ids = gallery.ids_of_rows(range(gallery.count))
    return [display_copy_of(gallery, ids[row]) for row in range(gallery.count)]


def test_shards_and_folder_give_the_same_vectors_and_shards_alone_have_display_copies(
    build, photos, shards, tmp_path
):
    build(photos, "folder")
    build(shards, "packed")
    folder, packed = (IndexFolder(tmp_path / name).open().images for name in ("folder", "packed"))
    for name in ("index.faiss", "embeddings.f16"):
        assert folder.manifest.files[name] == packed.manifest.files[name]
    assert copies_of(folder) == [None] * 8
    for place, copy in enumerate(copies_of(packed)):
        (path,) = photos.glob(f"{place}.*")
        source = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
        shown = Image.open(io.BytesIO(copy))
        scale = min(1, LONGEST / max(source.size))
        assert (shown.format, shown.mode) == ("JPEG", "RGB")
        assert shown.size == tuple(max(1, round(side * scale)) for side in source.size)
        assert not shown.getexif() and b"secret" not in copy and b"Exif" not in copy
        centres = [one.getpixel((one.width // 2, one.height // 2)) for one in (shown, source)]
        assert centres[0] == pytest.approx(centres[1], abs=12)
        item = packed.item(packed.ids_of_rows([place])[place])
        assert (item.width, item.height) == source.size


def test_equal_pictures_share_a_display_copy(build, index, shards):
    build(shards)
    gallery = index.open().images
    copies = copies_of(gallery)
    assert copies[1] == copies[4] and copies[3] == copies[7]
    assert len(set(copies)) == gallery.manifest.distinct_count == 6


def spoil_unnoticed(shard, entries):
    """Overwrite the pictures of a shard, so that only who reads them can tell."""
    status = shard.stat()
    with shard.open("r+b") as file:
        for entry in entries:
            file.seek(entry.span.offset)
            file.write(b"?" * entry.span.size)
    os.utime(shard, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("again", ["build", "add"])
def test_display_copies_come_along_into_the_next_version_without_reading_the_shard(
    build, index, shards, work, again
):
    build(shards)
    before = copies_of(index.open().images)
    assert work.count() == (8, 6)
    source = open_image_source(shards / "part-000.tar")
    spoil_unnoticed(shards / "part-000.tar", source.entries())
    write_tar(shards / "part-002.tar", [("new.png", as_png(made_up_picture(9)))])
    if again == "build":
        build(shards)
    else:
        add_items(index.path, images=shards)
    assert work.count() == (1, 1)
    after = copies_of(index.open().images)
    assert after[:8] == before and Image.open(io.BytesIO(after[8])).size == (48, 48)


def test_pictures_that_are_known_as_files_are_decoded_again_for_display_and_not_encoded(
    build, index, photos, shards, tmp_path, work
):
    build(photos)
    work.count()
    build(shards)
    assert work.count() == (8, 0)
    build(shards, "fresh")
    # As if no gallery had been there before.
    assert served_files(index.path) == served_files(tmp_path / "fresh")
    work.count()
    build(photos)
    assert work.count() == (0, 0)


def test_a_shard_that_is_added_to_a_folder_is_shown_by_copies_and_the_folder_by_its_files(
    build, index, photos, shards, tmp_path, work
):
    build(photos, images_root=tmp_path)
    work.count()
    assert add_items(index.path, images=shards).images.added_count == 8
    assert work.count() == (8, 0)
    gallery = index.open().images
    assert copies_of(gallery)[:8] == [None] * 8
    build(shards, "fresh")
    assert copies_of(gallery)[8:] == copies_of(IndexFolder(tmp_path / "fresh").open().images)
    # The other way round, too: equal pictures, of which only those in shards are shown by copies.
    build(shards, images_root=tmp_path)
    assert add_items(index.path, images=photos).images.added_count == 8
    opened = index.open().images
    assert None not in copies_of(opened)[:8] and copies_of(opened)[8:] == [None] * 8


def test_what_is_left_after_a_removal_keeps_its_display_copies(build, index, shards):
    build(shards)
    gallery = index.open().images
    expected = copies_of(gallery)
    ids = gallery.ids_of_rows(range(8))
    assert not remove_items(index.path, images=[ids[0]]).images.is_compacted
    left = index.open().images
    assert [display_copy_of(left, ids[row]) for row in range(8)] == [None, *expected[1:]]
    assert remove_items(index.path, images=[ids[1], ids[2]]).images.is_compacted
    left = index.open().images
    assert copies_of(left) == expected[3:]
    # What nobody shows any more is gone with its rows.
    hashes = {gallery.item(ids[row]).content_hash for row in (0, 2)}
    assert [left.display_copy_of_content(each) for each in hashes] == [None, None]


def test_known_and_new_copies_of_a_part_are_written_in_the_order_of_the_source(
    build, index, photos, shards, tmp_path
):
    some = tmp_path / "some"
    some.mkdir()
    names = sorted(path.name for path in photos.iterdir())
    for name in names[1::2]:
        (photos / name).rename(some / name)
    build(some)
    for name in names[1::2]:
        (some / name).rename(photos / name)
    build(shards / "part-001.tar")  # half of these were known as files
    build(shards)
    build(shards, "fresh")
    gallery, fresh = index.open().images, IndexFolder(tmp_path / "fresh").open().images
    assert gallery.folder.name == fresh.folder.name
    for name in ("items.sqlite", "thumbnails.sqlite"):
        assert gallery.manifest.files[name] == fresh.manifest.files[name]


def test_a_shard_and_a_folder_of_its_name_and_members_are_two_galleries(
    build, index, shards, tmp_path
):
    unpacked = tmp_path / "unpacked"
    for shard in shards.iterdir():
        with tarfile.open(shard) as tar:
            tar.extractall(unpacked / shard.name, filter="data")
    build(unpacked)
    assert copies_of(index.open().images) == [None] * 8
    build(shards)
    assert None not in copies_of(index.open().images)
    build(unpacked)
    assert copies_of(index.open().images) == [None] * 8


def test_shards_that_were_packed_anew_make_a_gallery_that_says_where_its_pictures_lie_now(
    build, index, shards, work
):
    first = build(shards)
    work.count()
    for shard in shards.iterdir():
        with tarfile.open(shard) as tar:
            members = [(member.name, tar.extractfile(member).read()) for member in tar]
        write_tar(shard, [("0.md", b"x" * 5000), *members])
    second = build(shards)
    assert work.count() == (0, 0)
    assert (second.version, second.images.is_reused) == (first.version + 1, False)
    gallery = index.open().images
    for entry in open_image_source(shards).entries():
        assert gallery.item(entry.id).span == entry.span


def test_a_disk_that_is_full_of_display_copies_is_one_sentence_and_the_build_goes_on(
    build, index, shards, tmp_path, capsys
):
    """As `test_a_full_disk...` of builds; `capsys` keeps what is printed in memory."""
    noise = np.random.default_rng(0).integers(0, 256, (LONGEST, LONGEST, 3), dtype=np.uint8)
    write_tar(shards / "part-002.tar", [("noise.png", as_png(Image.fromarray(noise)))])
    build(shards, "clean")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(GalleryIndexError, match="cannot write"):
            build(shards)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    parts = sorted(path.name for path in index.galleries.glob(".work-*/*.npz"))
    assert parts == ["00000000.npz", "00000001.npz"]
    build(shards)
    assert served_files(index.path) == served_files(tmp_path / "clean")
