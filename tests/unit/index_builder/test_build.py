"""Builds with a tiny real checkpoint: pictures and captions in, a served index out."""

import io
import json
import os
import resource
import shutil

import numpy as np
import pytest
from PIL import Image

from index_builder.build import build_index
from index_builder.galleries import gallery_files
from index_builder.index_folder.versions import IndexFolder
from index_builder.vector_index import IndexRequest
from model.dual_encoder import load_dual_encoder
from model.errors import CheckpointError, ConfigError, DataError, GalleryIndexError
from model.identifiers import image_id_for_path
from tests.unit.index_builder.written_galleries import brute_force, served_files
from tests.worlds import made_up_picture, tiny_checkpoint

CAPTIONS = ["a red circle", "a blue square", "a red circle", "one green triangle on grey"]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(6):
        name = f"{'more/' if number % 3 == 2 else ''}{number}.png"
        made_up_picture(number).save(folder / name)
    return folder


@pytest.fixture
def captions(tmp_path):
    (tmp_path / "captions.txt").write_text("\n".join(CAPTIONS))
    return tmp_path / "captions.txt"


@pytest.fixture
def build(checkpoint, photos, captions, tmp_path):
    """Build photos and captions into `index`; keywords replace arguments."""

    def run(**changes):
        given = {
            "checkpoint": checkpoint,
            "images": photos,
            "captions": captions,
            "output": tmp_path / "index",
        }
        return build_index(**(given | changes))

    return run


def encode(checkpoint, caption):
    return load_dual_encoder(checkpoint).encode_captions([caption]).numpy()


def test_both_galleries_answer_like_brute_force_over_their_own_encodings(
    build, index, checkpoint, photos
):
    report = build()
    assert (report.version, report.images.count, report.captions.count) == (1, 6, 4)
    opened = index.open()
    encoder = load_dual_encoder(opened.checkpoint_path)
    opened.check_encoder(encoder.fingerprint, "the copy")
    query = encoder.encode_captions(["a red circle"]).numpy()
    for gallery in (opened.images, opened.captions):
        ids = [hit.item_id for hit in gallery.search(query, 100)[0]]
        vectors = gallery.vectors(sorted(ids, key=lambda i: gallery.item(i).row))
        hits = gallery.search(query, 100)[0]
        assert [(hit.row, hit.score) for hit in hits] == brute_force(query[0], vectors)
        assert gallery.manifest.index.recall_at_10 == 1.0
    paths = [photos / opened.images.item(i).path for i in ids_of(opened)]
    pictures = [Image.open(path).convert("RGB") for path in paths]
    expected = encoder.encode_images(pictures).numpy()
    np.testing.assert_allclose(opened.images.vectors(ids_of(opened)), expected, atol=1e-5)


@pytest.mark.usefixtures("few_tuning_queries")
def test_another_kind_or_recall_is_another_gallery_of_the_same_items(build, index):
    build()
    exact = index.open()
    folders = {exact.images.folder}
    for request in (
        IndexRequest(kind="hnsw"),
        IndexRequest(kind="hnsw", recall=0.9),
        IndexRequest(factory="SQ8"),
    ):
        assert not build(index_request=request).images.is_reused
        opened = index.open()
        folders.add(opened.images.folder)
        record = opened.images.manifest.index
        assert record.kind == (request.kind or "factory")
        assert record.target_recall == request.recall
        assert ids_of(opened) == ids_of(exact)
        assert build(index_request=request).images.is_reused
    assert len(folders) == 4


def test_an_index_that_does_not_fit_is_refused_before_anything_is_encoded(build, index):
    with pytest.raises(ConfigError, match=r"memory = .*GiB: the kind exact .* give --memory"):
        build(index_request=IndexRequest(memory_bytes=1000))
    assert not index.path.exists()  # and nothing is left


def ids_of(opened, kind="images"):
    gallery = opened.gallery(kind)
    query = np.zeros((1, gallery.dim), dtype=np.float32)
    return [hit.item_id for hit in gallery.search(query, 1000)[0]]  # all tie: row order


def test_rows_follow_the_source_whatever_the_batch_size(build, index):
    build(batch_size=1)
    one = index.open()
    expected = ["0.png", "1.png", "3.png", "4.png", "more/2.png", "more/5.png"]
    assert ids_of(one) == [image_id_for_path(path) for path in expected]
    shutil.rmtree(one.images.folder)
    build(batch_size=5)
    five = index.open()
    assert (ids_of(five), five.images.folder) == (ids_of(one), one.images.folder)
    # float32 sums differ with the shape of a batch, by far less than any difference that matters.
    vectors = [opened.images.vectors(ids_of(one)) for opened in (one, five)]
    np.testing.assert_allclose(*vectors, atol=1e-5)


def test_building_the_same_again_encodes_nothing_and_serves_the_same_version(build, index):
    first = build()
    written = {path: path.stat().st_mtime_ns for path in index.galleries.rglob("*")}
    again = build()
    assert (again.version, again.is_new_version) == (first.version, False)
    assert again.images.is_reused and again.captions.is_reused
    assert {path: path.stat().st_mtime_ns for path in index.galleries.rglob("*")} == written


def test_a_changed_picture_makes_a_new_gallery_and_leaves_the_captions_alone(build, index, photos):
    first = build()
    made_up_picture(9).save(photos / "0.png")
    second = build()
    assert (second.version, second.images.is_reused, second.captions.is_reused) == (2, False, True)
    assert first.images.folder != second.images.folder
    old, new = index.open(1), index.open(2)
    item = image_id_for_path("0.png")
    assert not np.array_equal(old.images.vectors([item]), new.images.vectors([item]))


def test_captions_longer_than_the_network_reads_are_counted_once(build, captions, capsys):
    captions.write_text("\n".join([" ".join(["circle"] * 40), "a dog", " ".join(["dog"] * 40)]))
    build(images=None, part_size=1)
    assert "2 captions are longer than the network reads" in capsys.readouterr().err
    build(images=None, part_size=1)
    assert "longer than" not in capsys.readouterr().err  # nothing was encoded


@pytest.mark.parametrize("column", ["caption", "id", "year"])
def test_any_change_of_a_caption_row_makes_a_new_gallery(build, index, tmp_path, column):
    source = tmp_path / "captions.jsonl"
    row = {"caption": "a red circle", "id": "c", "year": 1}
    source.write_text(json.dumps(row))
    first = build(captions=source)
    source.write_text(json.dumps(row | {column: 2 if column == "year" else "other"}))
    assert build(captions=source).captions.folder != first.captions.folder


def test_equal_captions_and_equal_pictures_are_encoded_once_and_tie(
    build, index, photos, checkpoint
):
    shutil.copy(photos / "0.png", photos / "more" / "copy.png")
    build()
    opened = index.open()
    assert (opened.images.count, opened.images.manifest.distinct_count) == (7, 6)
    assert (opened.captions.count, opened.captions.manifest.distinct_count) == (4, 3)
    twins = [image_id_for_path(path) for path in ("0.png", "more/copy.png")]
    left, right = opened.images.vectors(twins)
    np.testing.assert_array_equal(left, right)
    assert opened.images.thumbnail(twins[0]) == opened.images.thumbnail(twins[1])
    hits = opened.captions.search(encode(checkpoint, "a red circle"), 2)[0]
    assert [hit.row for hit in hits] == [0, 2]
    assert hits[0].score == hits[1].score


def test_what_cannot_be_used_is_set_aside_with_its_reason(build, index, photos, tmp_path):
    whole = (photos / "0.png").read_bytes()
    (photos / "text.jpg").write_text("no picture")
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (200, 100)).save(photos / "large.png")
    (tmp_path / "outside.png").write_bytes(whole)
    (photos / "way-out.png").symlink_to(tmp_path / "outside.png")
    (photos / "dangling.png").symlink_to(photos / "nothing.png")
    report = build(max_pixels=10_000)
    assert (report.images.count, report.images.rejected_count) == (6, 5)
    lines = [json.loads(line) for line in (index.path / "rejected.jsonl").read_text().splitlines()]
    assert {line["source"]: line["code"] for line in lines} == {
        "cut.png": "unreadable",
        "dangling.png": "missing",
        "large.png": "too_many_pixels",
        "text.jpg": "unreadable",
        "way-out.png": "outside_root",
    }
    reasons = {line["source"]: line["reason"] for line in lines}
    assert "0.0 megapixels" in reasons["large.png"]
    assert str(photos) not in reasons["cut.png"]
    assert all(line["gallery"] == "images" for line in lines)
    build(max_pixels=10_000)  # found again, and still told
    assert len((index.path / "rejected.jsonl").read_text().splitlines()) == 5


def test_nothing_usable_is_one_sentence_and_leaves_no_version(build, index, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.jpg").write_text("text")
    with pytest.raises(
        DataError, match=r"none of the 1 pictures .* the first is a.jpg: not a pict"
    ):
        build(images=tmp_path / "bad")
    with pytest.raises(GalleryIndexError, match="holds no index"):
        index.open()
    assert not index.path.exists()


def test_a_wrong_images_root_is_guessed(build, tmp_path):
    (tmp_path / "images.jsonl").write_text('{"path": "elsewhere/0.png"}')
    with pytest.raises(DataError, match=r"no such file; is --images-root right\?"):
        build(images=tmp_path / "images.jsonl")


def test_pictures_are_upright_and_thumbnails_small_and_without_exif(build, index, photos):
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif[0x010F] = "camera"
    exif.get_ifd(0x8825)[1] = "N"
    Image.new("RGB", (600, 300), (200, 30, 30)).save(photos / "phone.jpg", exif=exif)
    build()
    gallery = index.open().images
    phone = gallery.item(image_id_for_path("phone.jpg"))
    assert (phone.width, phone.height) == (300, 600)
    content = gallery.thumbnail(phone.id)
    thumbnail = Image.open(io.BytesIO(content))
    assert (thumbnail.format, thumbnail.size) == ("JPEG", (128, 256))
    assert not thumbnail.getexif() and b"camera" not in content
    small = Image.open(io.BytesIO(gallery.thumbnail(image_id_for_path("0.png"))))
    assert small.size == (48, 48)
    assert gallery.thumbnail("nobody") is None


def test_captions_find_the_ids_of_pictures_that_they_name_by_path(build, index, photos, tmp_path):
    (tmp_path / "images.jsonl").write_text(
        '{"path": "0.png", "id": "zero", "tags": ["x"]}\n{"path": "1.png"}\n'
    )
    (tmp_path / "captions.jsonl").write_text(
        '{"caption": "a", "image": "0.png"}\n{"caption": "b", "image": "1.png"}\n'
        '{"caption": "c", "image": "elsewhere.png"}\n{"caption": "d"}\n'
    )
    given = {"images": tmp_path / "images.jsonl", "captions": tmp_path / "captions.jsonl"}
    build(**given, images_root=photos)
    opened = index.open()
    items = opened.captions.items(ids_of(opened, "captions")).values()
    assert [item.image_id for item in items] == [
        "zero", image_id_for_path("1.png"), image_id_for_path("elsewhere.png"), None
    ]  # fmt: skip
    assert opened.images.item("zero").metadata == {"tags": ["x"]}
    assert opened.images.manifest.columns == {"tags": "text_list"}
    # The same when the images are not part of the build.
    again = build(images=None, captions=given["captions"])
    assert (again.version, again.captions.is_reused) == (1, True)


def test_a_source_left_out_keeps_the_served_gallery(build, index, captions, photos):
    assert build(captions=None).captions is None
    assert index.open().captions is None
    report = build(images=None)
    assert (report.version, report.images.count, report.images.is_reused) == (2, 6, True)
    opened = index.open()
    assert opened.images.images_root == photos


def test_a_left_out_gallery_of_another_checkpoint_is_refused(build, index, tmp_path):
    first = build()
    other = tiny_checkpoint(tmp_path, seed=1)
    with pytest.raises(
        GalleryIndexError, match=r"captions .* of checkpoint \w+ .* give --captions"
    ):
        build(checkpoint=other, captions=None)
    assert index.open().version == first.version
    second = build(checkpoint=other)
    assert second.checkpoint_fingerprint != first.checkpoint_fingerprint
    assert {path.name for path in index.checkpoints.iterdir()} == {
        report.checkpoint_fingerprint[:16] for report in (first, second)
    }


def test_moved_pictures_are_found_by_another_root_without_encoding(build, index, photos, tmp_path):
    build()
    moved = photos.rename(tmp_path / "moved")
    assert index.open(images_root=moved).images.images_root == moved
    report = build(images=moved)
    assert (report.version, report.images.is_reused) == (2, True)
    assert index.open().images.images_root == moved


def test_the_index_needs_no_other_checkpoint(build, index, tmp_path):
    source = tiny_checkpoint(tmp_path / "own")
    (source / "training").mkdir()
    (source / "training" / "optimizer.pt").write_bytes(b"x")
    (source / "metrics.json").write_text("{}")
    build(checkpoint=source)
    kept = index.open().checkpoint_path
    assert {path.name for path in kept.iterdir()} == {
        "config.json", "model.safetensors", "preprocessor.json", "tokenizer", "metrics.json"
    }  # fmt: skip
    # A copy: what overwrites the source in place must not reach it.
    assert not (kept / "model.safetensors").samefile(source / "model.safetensors")
    shutil.rmtree(source)
    opened = index.open()
    opened.check_encoder(load_dual_encoder(opened.checkpoint_path).fingerprint, "the copy")


def test_a_damaged_gallery_is_written_anew(build, index, capsys):
    folder = index.galleries / build().images.folder
    (folder / "index.faiss").write_bytes(b"damaged")
    with pytest.raises(GalleryIndexError, match=r"index.faiss has 7 bytes"):
        index.open()
    assert build().images.is_reused is False
    assert "this build writes it anew" in capsys.readouterr().err
    assert index.open().images.count == 6


def test_nothing_to_build_no_checkpoint_and_no_source_are_told(build, tmp_path, index):
    with pytest.raises(ConfigError, match="images, captions"):
        build(images=None, captions=None)
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        build(checkpoint=tmp_path / "nowhere")
    with pytest.raises(DataError, match="does not exist"):
        build(images=tmp_path / "nowhere")
    assert not index.path.exists()


@pytest.mark.parametrize(
    ("module", "call"),
    [(os, "fsync"), (os, "rename"), (os, "replace"), (shutil, "copyfile")],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_build_that_fails_at_any_step_leaves_the_old_version_and_goes_on_to_the_same_bytes(
    build, index, photos, tmp_path, module, call
):
    """Every flush, rename and copy fails in turn; the last round gets through."""
    build()
    old_count = index.open().images.count
    made_up_picture(7).save(photos / "7.png")
    checkpoint = tiny_checkpoint(tmp_path, seed=1)
    build(checkpoint=checkpoint, output=tmp_path / "clean", part_size=4)
    real = getattr(module, call)
    for fails_at in range(1, 100):
        calls = 0

        def failing(*args, fails_at=fails_at, **kwargs):
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise RuntimeError("killed")
            return real(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, call, failing)
            try:
                build(checkpoint=checkpoint, part_size=4)
            except RuntimeError:
                opened = index.open()
                assert opened.images.count == old_count + (opened.version > 1)
                opened.close()
                continue
        break
    assert fails_at > 1
    assert (index.open().images.count, max(index.versions())) == (old_count + 1, index.current())
    assert not list(index.galleries.glob(".*")) + list(index.checkpoints.glob(".*"))
    assert served_files(index.path) == served_files(tmp_path / "clean")


@pytest.mark.parametrize("limit_bytes", [100, 3_000, 20_000, 28_000])
def test_a_full_disk_is_one_sentence_and_leaves_the_old_version(
    build, index, photos, limit_bytes, capsys
):
    """The system's limit on file size stands for a full disk: every writer meets a real error.

    `capsys` keeps what is printed in memory, where the limit does not reach.
    """
    build()
    made_up_picture(7).save(photos / "7.png")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        with pytest.raises(GalleryIndexError, match="cannot write"):
            build()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert index.open().version == 1
    assert build().version == 2


def test_contents_of_a_damaged_gallery_are_not_used_again(
    build, index, photos, monkeypatch, tmp_path
):
    """Opening compares only lengths here, as of files over 1 GiB."""
    build(captions=None)
    path = index.open().images.folder / "thumbnails.sqlite"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(gallery_files, "_HASHED_BYTES", 0)
    made_up_picture(7).save(photos / "7.png")
    build(captions=None)
    monkeypatch.undo()
    build(captions=None, output=tmp_path / "clean")
    found, clean = index.open().images, IndexFolder(tmp_path / "clean").open().images
    assert found.manifest.files == clean.manifest.files
