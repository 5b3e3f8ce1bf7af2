"""A build that was stopped goes on; what it leads to is what an unbroken one leads to."""

import itertools
import os
import shutil

import pytest

from index_builder.encoding import reading
from index_builder.index_folder.versions import IndexFolder
from index_builder.listing.rejections import RejectionLimit
from index_builder.vector_index import IndexRequest, build_vector_index
from index_builder.vector_index.queries import MIDPOINTS
from index_builder.verification import verify_index
from index_builder.writing import draft
from index_builder.writing.assembly import Assembly
from model.dual_encoder import load_dual_encoder
from model.errors import DataError, GalleryIndexError
from model.hrem import HREM
from model.identifiers import image_id_for_path
from tests.unit.index_builder.sources.layouts import write_samples
from tests.unit.index_builder.stopping import StoppedError, stop
from tests.unit.index_builder.written_galleries import display_copy_of, served_files
from tests.worlds import captions_of, made_up_picture, tiny_checkpoint


def _stop(*_, **__):
    raise StoppedError


def files(index):
    return served_files(index.path)


def works(index):
    return sorted(path.name for path in index.galleries.glob(".work-*"))


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_what_was_encoded_is_kept_and_the_bytes_are_those_of_an_unbroken_build(
    build, index, encoded, tmp_path, capsys, at
):
    build("clean", batch_size=3)
    # Nine contents are distinct and pictures: 0 1 2, 4 5 7 and 8 9 10, a batch of three each.
    assert encoded.count == 9
    if at == 4:
        return
    stop(build, encoded, at=at, batch_size=3)
    assert len(works(index)) == 1 and not (index.path / "current").exists()
    build(batch_size=3)
    assert encoded.count == 9 - 3 * (at - 1)
    assert files(index) == served_files(tmp_path / "clean")
    assert not list(index.galleries.glob(".*"))
    if at > 1:
        assert f"going on, {at - 1} of 3 parts are there" in capsys.readouterr().err


def test_equal_contents_are_encoded_once_in_the_part_where_they_first_appear(build, index):
    build()
    gallery = index.open().images
    assert (gallery.count, gallery.manifest.distinct_count) == (11, 9)
    for first, again in (("00.png", "11.png"), ("05.png", "06.png")):
        left, right = gallery.vectors([image_id_for_path(first), image_id_for_path(again)])
        assert left.tobytes() == right.tobytes()


def test_neither_processes_nor_parts_nor_batches_change_what_is_found(build, index, tmp_path):
    build()
    expected = files(index)
    build("workers", worker_count=2)
    assert served_files(tmp_path / "workers") == expected
    gallery = index.open().images
    for name, changes in (("parts", {"part_size": 5}), ("batches", {"batch_size": 2})):
        build(name, **changes)
        other = IndexFolder(tmp_path / name).open().images
        # Sums of float32 differ with the shape of a batch; everything else is the same bytes.
        for file in ("items.sqlite", "thumbnails.sqlite"):
            assert other.manifest.files[file] == gallery.manifest.files[file]
        assert other.folder.name == gallery.folder.name
        ids = [image_id_for_path(f"{n:02d}.png") for n in range(12) if n != 3]
        assert abs(other.vectors(ids) - gallery.vectors(ids)).max() < 1e-5


@pytest.mark.parametrize("kind", ["exact", "ivf"])
def test_a_vector_index_that_was_being_built_is_built_again_to_the_same_bytes(
    build, index, encoded, tmp_path, monkeypatch, kind
):
    given = {"captions": _captions(tmp_path), "index_request": IndexRequest(kind=kind)}
    build("clean", **given)
    for gallery in (0, 1):
        calls = itertools.count()

        def build_and_stop(*arguments, calls=calls, gallery=gallery, **more):
            built = build_vector_index(*arguments, **more)
            if next(calls) == gallery:
                raise StoppedError
            return built

        with monkeypatch.context() as patch:
            patch.setattr(draft, "build_vector_index", build_and_stop)
            with pytest.raises(StoppedError):
                build(**given)
        assert not (index.path / "current").exists()
    encoded.count = 0
    build(**given)
    assert encoded.count == 0
    assert files(index) == served_files(tmp_path / "clean")


def test_a_file_that_changed_meanwhile_is_read_again_and_only_its_part(
    build, index, encoded, photos, tmp_path
):
    stop(build, encoded, at=3)
    made_up_picture(20).save(photos / "01.png")
    build()
    assert encoded.count == 3 + 3  # the first part again, and the last
    build("clean")
    assert files(index) == served_files(tmp_path / "clean")


def test_a_part_that_relies_on_a_content_that_is_gone_is_made_anew(
    build, index, encoded, photos, tmp_path
):
    build("clean")
    # Stop when all parts are there: while the gallery is put together.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Assembly, "write", _stop)
        with pytest.raises(StoppedError):
            build()
    made_up_picture(20).save(photos / "00.png")  # what 11.png shows is now found there alone
    encoded.count = 0
    build()
    assert encoded.count == 3 + 4  # the first part, and the last, which relied on it
    build("fresh")
    assert files(index) == served_files(tmp_path / "fresh")


def test_a_missing_file_that_is_there_again_is_no_longer_set_aside(
    build, index, encoded, photos, tmp_path
):
    away = photos / "00.png"
    listed = tmp_path / "images.jsonl"
    listed.write_text("".join(f'{{"path": "{n:02d}.png"}}\n' for n in range(12)))
    given = {"images": listed, "images_root": photos}
    kept = away.rename(tmp_path / "kept.png")
    stop(build, encoded, at=2, **given)
    kept.rename(away)
    report = build(**given)
    assert (report.images.count, report.images.rejected_count) == (11, 1)


def test_work_of_other_requests_is_left_alone_and_told(
    build, index, encoded, photos, tmp_path, capsys
):
    stop(build, encoded, at=3)
    (begun,) = works(index)
    other = tiny_checkpoint(tmp_path, seed=1)
    report = build(checkpoint=other)
    assert encoded.count == 9 and report.checkpoint_fingerprint != begun
    assert works(index) == [begun]
    told = capsys.readouterr().err
    assert f"{begun} holds the work of a build that was never finished" in told
    encoded.count = 0
    build()
    assert (encoded.count, works(index)) == (3, [])


def test_contents_of_the_served_gallery_are_not_encoded_again(
    build, index, encoded, photos, tmp_path
):
    first = build()
    made_up_picture(30).save(photos / "12.png")
    (photos / "05.png").unlink()
    encoded.count = 0
    second = build()
    assert encoded.count == 1
    assert (second.images.count, second.images.is_reused) == (11, False)
    old, new = index.open(first.version).images, index.open(second.version).images
    for name in ("00.png", "06.png", "11.png"):
        item = image_id_for_path(name)
        assert old.vectors([item]).tobytes() == new.vectors([item]).tobytes()
        assert old.thumbnail(item) == new.thumbnail(item) != None  # noqa: E711
        assert (old.item(item).width, old.item(item).height) == (48, 48)
        assert new.item(item).width == 48
    encoded.count = 0
    assert build().version == second.version
    assert encoded.count == 0


def test_a_gallery_of_another_kind_encodes_again_only_where_float32_is_needed(
    build, index, encoded, photos, tmp_path
):
    approximate = {"index_request": IndexRequest(factory="SQ8")}
    build()
    encoded.count = 0
    build(**approximate)
    assert encoded.count == 0  # float16 is made of float32
    made_up_picture(30).save(photos / "12.png")
    build(**approximate)
    assert encoded.count == 1
    build("fresh", **approximate)
    fresh = IndexFolder(tmp_path / "fresh").open().images
    item = image_id_for_path("05.png")
    assert fresh.vectors([item]).tobytes() == index.open().images.vectors([item]).tobytes()
    encoded.count = 0
    build()
    assert encoded.count == 10  # but not the other way round


def test_pictures_of_shards_go_on_too_and_a_changed_shard_is_read_again(
    build, index, encoded, photos, tmp_path
):
    rows = [{"path": f"{number:02d}.png"} for number in range(12)]
    shards = write_samples(photos, rows)
    given = {"images": shards, "batch_size": 3}
    stop(build, encoded, at=3, **given)
    os.utime(shards / "part-001.tar", ns=(0, 5))  # holds the pictures from the seventh on
    build(**given)
    assert encoded.count == 3 + 3  # all but the first part
    build("clean", worker_count=1, **given)
    assert files(index) == served_files(tmp_path / "clean")
    gallery = index.open().images
    ids = gallery.ids_of_rows(range(gallery.count)).values()
    assert None not in [display_copy_of(gallery, item_id) for item_id in ids]


def test_display_copies_of_known_pictures_are_kept_too(
    build, index, encoded, photos, tmp_path, monkeypatch
):
    shards = write_samples(photos, [{"path": f"{number:02d}.png"} for number in range(12)])
    for output in ("clean", "index"):
        build(output)  # knows every picture, as a file, so without display copies
    encoded.count = 0
    build("clean", images=shards)
    with monkeypatch.context() as patch:
        patch.setattr(Assembly, "write", _stop)
        with pytest.raises(StoppedError):
            build(images=shards)
    monkeypatch.setattr(reading, "open_picture", _stop)  # all parts are there
    build(images=shards)
    assert encoded.count == 0
    assert files(index) == served_files(tmp_path / "clean")


@pytest.mark.parametrize(("count", "source"), [(99, MIDPOINTS), (100, "captions of the index")])
def test_each_gallery_is_tuned_with_vectors_of_the_other_where_there_are_enough(
    build, index, tmp_path, count, source
):
    captions = tmp_path / "captions.txt"
    captions.write_text("\n".join(f"{number} red circles" for number in range(count)))
    build(captions=captions)
    opened = index.open()
    record = opened.images.manifest.index
    assert (record.query_source, record.recall_query_count) == (source, 100)
    assert opened.captions.manifest.index.query_source == MIDPOINTS  # eleven pictures are too few
    assert opened.captions.manifest.distinct_count == count


def test_a_served_gallery_tunes_the_one_that_is_built_beside_it(build, index, tmp_path):
    captions = tmp_path / "captions.txt"
    captions.write_text("\n".join(f"{number} red circles" for number in range(200)))
    build(images=None, captions=captions)
    build()
    record = index.open().images.manifest.index
    assert (record.query_source, record.recall_query_count) == ("captions of the index", 100)


def test_another_limit_of_pixels_makes_no_use_of_the_served_gallery(build, encoded):
    build()
    with pytest.raises(DataError, match="none of the 12"):
        build(max_pixels=100)


def test_another_precision_is_another_gallery_that_uses_nothing_of_the_served_one(
    build, index, encoded
):
    exact = build()
    encoded.count = 0
    assert not build(precision="bfloat16").images.is_reused
    assert encoded.count == 9
    galleries = [index.open(version).images for version in (1, 2)]
    assert [g.manifest.precision for g in galleries] == ["float32", "bfloat16"]
    one, other = (gallery.vectors([image_id_for_path("05.png")]) for gallery in galleries)
    assert 0 < abs(one - other).max() < 2**-7  # bfloat16 has 8 significant bits
    assert build().images.folder == exact.images.folder


def test_work_in_another_precision_is_not_gone_on_with(build, index, encoded, tmp_path):
    stop(build, encoded, at=3)
    build(precision="bfloat16")
    assert encoded.count == 9 and len(works(index)) == 1
    build("clean", precision="bfloat16")
    assert files(index) == served_files(tmp_path / "clean")


def test_galleries_of_two_precisions_can_be_served_together(build, index, checkpoint):
    build(captions=_captions(index.path.parent))
    build(precision="bfloat16")
    opened = index.open()
    served = [gallery.manifest.precision for gallery in (opened.images, opened.captions)]
    assert served == ["bfloat16", "float32"]
    opened.check_encoder(load_dual_encoder(checkpoint).fingerprint, "the one of queries")


@pytest.mark.parametrize(
    ("limit", "is_enough"), [("1", True), ("9%", True), ("0", False), ("8.2%", False)]
)
def test_too_many_set_aside_is_a_failure_that_switches_nothing(build, index, limit, is_enough):
    if is_enough:
        assert build(max_rejected=RejectionLimit(limit)).images.rejected_count == 1
        return
    with pytest.raises(DataError, match=rf"more than {limit} of 12 images .* 03\.png: not a pict"):
        build(max_rejected=RejectionLimit(limit))
    assert not (index.path / "current").exists()
    assert build(max_rejected=RejectionLimit("50%")).images.count == 11


@pytest.mark.parametrize("text", ["", "-1", "many", "101%", "1.5"])
def test_a_limit_is_a_number_or_a_share(text):
    with pytest.raises(ValueError, match=r"write a number such as 100, or 2\.5%"):
        RejectionLimit(text)


@pytest.mark.parametrize(
    ("text", "count", "most"),
    [("7", 3, 7), ("0%", 9, 0), ("32.3%", 1000, 323), ("0.57%", 10_000, 57), ("10%", 19, 1)],
)
def test_a_share_is_taken_as_it_is_written_and_rounded_down(text, count, most):
    assert RejectionLimit(text).most_of(count) == most


def test_a_source_that_vanishes_sets_nothing_aside_and_can_be_gone_on_with(
    build, index, encoded, photos, tmp_path, monkeypatch
):
    build("clean")
    build(captions=_captions(tmp_path), images=None)  # something is served
    away = photos.with_name("away")
    real = HREM.encode_pixels

    def vanishing(self, pixels, **settings):
        if photos.exists():
            photos.rename(away)
        return real(self, pixels, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(HREM, "encode_pixels", vanishing)
        with pytest.raises(DataError, match=r"went away while it was read .* build again"):
            build(captions=_captions(tmp_path))
    assert index.open().version == 1
    away.rename(photos)
    encoded.count = 0
    report = build(captions=_captions(tmp_path))
    assert (report.images.count, report.images.rejected_count, encoded.count) == (11, 1, 6)


def _captions(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("\n".join(captions_of(0)))
    return path


def test_a_checkpoint_that_is_written_to_meanwhile_is_built_as_it_was_loaded(
    build, index, encoded, tmp_path, monkeypatch
):
    own = tiny_checkpoint(tmp_path / "own", seed=3)
    build()
    loaded = load_dual_encoder(own).fingerprint
    real = HREM.encode_pixels

    def overwriting(self, pixels, **settings):
        with (own / "model.safetensors").open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"\x00\x00\x80\x3f")
        return real(self, pixels, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(HREM, "encode_pixels", overwriting)
        report = build(checkpoint=own)
    assert (report.version, report.checkpoint_fingerprint) == (2, loaded)
    assert verify_index(index.path).problems == []  # the copy encodes to the same vectors
    # What is loaded now is another checkpoint; it is built whole.
    report = build(checkpoint=own)
    assert (report.version, report.images.count) == (3, 11)
    assert report.checkpoint_fingerprint != loaded


def test_a_damaged_part_is_one_sentence_that_names_it(build, index, encoded):
    stop(build, encoded, at=3)
    (part, *_) = sorted(index.galleries.glob(".work-*/*.npz"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 255
    part.write_bytes(content)
    with pytest.raises(GalleryIndexError, match=rf"{part.name} is damaged .* delete it"):
        build()
    part.unlink()
    assert build().images.count == 11


def test_captions_go_through_parts_too(build, index, checkpoint, tmp_path, monkeypatch):
    source = tmp_path / "captions.txt"
    source.write_text("\n".join(text for n in range(4) for text in captions_of(n % 3)))
    given = {"images": None, "captions": source}
    build("clean", **given)
    real, calls = HREM.encode_captions, []

    def counting(self, captions, **settings):
        calls.append(len(captions))
        if len(calls) == 3:
            raise StoppedError
        return real(self, captions, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(HREM, "encode_captions", counting)
        with pytest.raises(StoppedError):
            build(**given)
        build(**given)
    assert files(index) == served_files(tmp_path / "clean")
    # 15 texts are distinct: the last of them stands in the fourth part, the fifth has none.
    assert calls == [4, 4, 4, 4, 3]
    shutil.rmtree(index.path)
