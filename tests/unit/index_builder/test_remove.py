"""What is removed is found by nobody any more; what is left is found as before."""

import numpy as np
import pytest

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.tombstones import read_tombstones, write_tombstones
from index_builder.index_folder.retrieval_quality import measure_retrieval
from index_builder.index_folder.versions import CheckpointRecord, GalleryRecord, IndexFolder
from index_builder.remove import remove_items
from index_builder.vector_index import IndexRequest
from index_builder.writing.compaction import MOST_TOMBSTONES
from model.errors import ConfigError, GalleryIndexError
from model.identifiers import sha256_of_file
from tests.unit.index_builder.vector_index.clusters import KINDS, clustered_rows
from tests.unit.index_builder.written_galleries import FINGERPRINT, unit_rows, write_gallery

IMAGE_COUNT, CAPTION_COUNT = 30, 60
IMAGE_ROWS, CAPTION_ROWS = unit_rows(IMAGE_COUNT), unit_rows(CAPTION_COUNT, seed=1)


def image_items():
    return [
        Item(
            id=f"i{row}", row=row, path=f"{row}.png", width=1, height=1, content_hash=f"{row:064x}"
        )
        for row in range(IMAGE_COUNT)
    ]


def caption_items(count=CAPTION_COUNT):
    return [
        Item(id=f"c{row}", row=row, caption=f"caption {row}", image_id=f"i{row // 2}",
             content_hash=f"{row:064x}")
        for row in range(count)
    ]  # fmt: skip


def publish(index, folders):
    with index.writing():
        index.publish(
            checkpoint=CheckpointRecord(
                fingerprint=FINGERPRINT,
                folder="checkpoints/" + FINGERPRINT[:16],
                name="random",
                files={},
            ),
            images_root=None,
            **{
                kind: None
                if kind not in folders
                else GalleryRecord(
                    folder=f"galleries/{folders[kind].name}",
                    manifest_sha256=sha256_of_file(folders[kind] / "manifest.json"),
                )
                for kind in ("images", "captions")
            },
        )


@pytest.fixture
def index(tmp_path):
    index = IndexFolder(tmp_path / "index")
    images, captions = "images-0000000000000000", "captions-0000000000000000"
    folders = {
        "images": write_gallery(index.galleries, IMAGE_ROWS, image_items(), name=images),
        "captions": write_gallery(index.galleries, CAPTION_ROWS, caption_items(), name=captions),
    }
    publish(index, folders)
    return index


def inodes(folder):
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def test_removed_items_are_gone_and_the_rest_answers_as_before(index):
    first = index.open()
    report = remove_items(index.path, images=["i3", "i7"], captions=["c0"])
    assert (report.images.removed_count, report.images.count) == (2, 28)
    now = index.open()
    assert now.images.items(["i3", "i4", "i7"]).keys() == {"i4"}
    assert now.images.item("i3") is None and now.captions.item("c0") is None
    assert now.images.ids_of_paths(["3.png", "4.png"]) == {"4.png": "i4"}
    assert now.images.rows().tolist() == [row for row in range(30) if row not in (3, 7)]
    with pytest.raises(GalleryIndexError, match="no item 'i7'"):
        now.images.vectors(["i7"])
    for before, after, gone in (
        (first.images, now.images, {3, 7}),
        (first.captions, now.captions, {0}),
    ):
        for query in unit_rows(5, seed=8):
            (was,), (found,) = (each.search(query[None], 60) for each in (before, after))
            expected = [(hit.item_id, hit.score) for hit in was if hit.row not in gone]
            assert [(hit.item_id, hit.score) for hit in found] == expected
        changed = {name for name, inode in inodes(after.folder).items()
                   if inodes(before.folder)[name] != inode}  # fmt: skip
        assert changed == {"tombstones", "background.npy", "manifest.json"}
        assert before.count == len(before.rows()) > after.count
    assert index.open(1).images.item("i3") is not None


def test_a_filter_and_tombstones_hold_together(index):
    remove_items(index.path, images=["i3", "i7"])
    images = index.open().images
    allowed = np.arange(IMAGE_COUNT) < 8
    (hits,) = images.search(unit_rows(1), 30, allowed=allowed)
    assert {hit.row for hit in hits} == {0, 1, 2, 4, 5, 6}


def test_captions_go_with_their_picture_where_that_is_asked(index):
    report = remove_items(index.path, images=["i3"], captions=["c0"], with_captions=True)
    assert report.captions.removed_count == 3
    captions = index.open().captions
    assert captions.items(["c0", "c5", "c6", "c7", "c8"]).keys() == {"c5", "c8"}


def test_more_than_a_fifth_is_compacted_from_the_gallery_itself(index):
    gone = [f"i{row}" for row in range(0, 12, 2)]  # six of thirty: a fifth, not more
    assert not remove_items(index.path, images=gone).images.is_compacted
    before = index.open().images
    report = remove_items(index.path, images=["i1"])
    assert report.images.is_compacted and len(gone) + 1 > MOST_TOMBSTONES * IMAGE_COUNT
    after = index.open().images
    left = [f"i{row}" for row in range(IMAGE_COUNT) if f"i{row}" not in {*gone, "i1"}]
    assert (after.count, after.row_count, after.manifest.tombstone_count) == (23, 23, 0)
    assert list(after.ids_of_rows(range(23)).values()) == left
    np.testing.assert_array_equal(after.vectors(left), before.vectors(left))
    for query in unit_rows(5, seed=8):
        (was,), (found,) = (each.search(query[None], 30) for each in (before, after))
        expected = [(hit.item_id, hit.score) for hit in was if hit.item_id != "i1"]
        assert [(hit.item_id, hit.score) for hit in found] == expected
    names = {path.name for path in index.galleries.iterdir()}
    assert len(names) == 4 and not [name for name in names if name.startswith(".")]


@pytest.mark.usefixtures("few_tuning_queries")
@pytest.mark.parametrize(("kind", "factory"), KINDS)
def test_every_kind_keeps_its_recall_when_rows_are_removed_and_compacted(
    tmp_path, kind, factory, exactly_only_tiny
):
    rows = clustered_rows()
    index = IndexFolder(tmp_path / "index")
    request = IndexRequest(kind=None if factory else kind, factory=factory)
    folder = write_gallery(
        index.galleries, rows, caption_items(len(rows)), index_kind=kind, index=request
    )
    publish(index, {"captions": folder})
    random = np.random.default_rng(4)
    for share in (0.15, 0.3):
        captions = index.open().captions
        unwanted = random.permutation(captions.rows())[: int(share * len(rows)) // 2]
        report = remove_items(index.path, captions=[f"c{row}" for row in unwanted])
        now = index.open().captions
        assert now.manifest.index.recall_at_10 >= now.manifest.index.target_recall
        assert not {f"c{row}" for row in unwanted} & {
            hit.item_id for hits in now.search(rows[unwanted[:50]], 20) for hit in hits
        }
        if report.captions.is_compacted:
            break
    assert report.captions.is_compacted and now.manifest.index.kind == kind


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_what_was_removed_is_masked_once_and_not_at_every_search(
    tmp_path, kind, passes_over_rows, exactly_only_tiny
):
    rows, index = clustered_rows(400), IndexFolder(tmp_path / "index")
    request = {"index_kind": kind, "index": IndexRequest(kind=kind)}
    publish(index, {"captions": write_gallery(
        index.galleries, rows, caption_items(len(rows)), **request
    )})  # fmt: skip
    remove_items(index.path, captions=["c3"])
    captions = index.open().captions
    for query in rows[:2]:
        passes_over_rows.clear()
        captions.search(query[None], 10)
    assert passes_over_rows == []
    captions.search(rows[:1], 10, allowed=np.arange(len(rows)) < 300)
    assert passes_over_rows  # a filter of this search alone


def test_quality_is_that_of_the_items_that_are_left(index):
    before = index.open()
    whole = measure_retrieval(before.images, before.captions)
    remove_items(index.path, images=[f"i{row}" for row in range(5)], captions=["c20", "c21"])
    now = index.open()
    quality = now.record.quality
    # Captions of pictures that are gone ask nothing; nor does a picture without captions.
    assert whole.text_to_image.query_count == 60 and whole.image_to_text.query_count == 30
    assert quality.text_to_image.query_count == 60 - 10 - 2
    assert quality.image_to_text.query_count == 30 - 5 - 1
    remove_items(index.path, images=["i6", "i7"])
    compacted = index.open()
    assert compacted.images.row_count == 23
    truth = measure_retrieval(compacted.images, now.captions)
    assert compacted.record.quality == truth
    through = [truth.text_to_image.through_index, truth.text_to_image.exact]
    assert through[0].recall_at_10 == pytest.approx(through[1].recall_at_10)


def test_what_cannot_be_removed_is_refused_whole(index, tmp_path):
    files = sorted(path.name for path in index.galleries.iterdir())
    for given, message in (
        ({"images": ["i1", "nobody", "i2"]}, "1 of 3 images are not in .*: nobody; nothing was"),
        ({"captions": ["c1"], "images": ["x", "y"]}, "2 of 2 images .*: x, y"),
        ({"images": [f"i{row}" for row in range(IMAGE_COUNT)]}, "no item of the images would be"),
    ):
        with pytest.raises(GalleryIndexError, match=message):
            remove_items(index.path, **given)
    with pytest.raises(ConfigError, match="at least one id"):
        remove_items(index.path)
    with pytest.raises(GalleryIndexError, match="holds no index"):
        remove_items(tmp_path / "nothing", images=["i1"])
    assert not (tmp_path / "nothing").exists()
    assert (index.current(), sorted(p.name for p in index.galleries.iterdir())) == (1, files)
    report = remove_items(index.path, images=["i1", "nobody"], ignore_missing=True)
    assert report.images.removed_count == 1
    report = remove_items(index.path, images=["i1"], ignore_missing=True)
    assert not report.is_new_version


@pytest.mark.parametrize("rows", [[5, 3], [3, 3], [-1], [IMAGE_COUNT]])
def test_tombstones_that_cannot_be_are_refused(index, rows):
    folder = index.open().images.folder
    write_tombstones(folder / "tombstones", np.array(rows))
    with pytest.raises(GalleryIndexError, match="tombstones"):
        Gallery.open(folder)
    with pytest.raises(GalleryIndexError, match="ascending numbers"):
        read_tombstones(folder / "tombstones", IMAGE_COUNT)


def test_removing_in_any_order_leaves_the_same_answers(index):
    for order in (["i2", "i9", "i20"], ["i20", "i9", "i2"], ["i9", "i20", "i2"]):
        other = IndexFolder(index.path.with_name("-".join(order)))
        publish(other, {"images": write_gallery(
            other.galleries, IMAGE_ROWS, image_items(), name="images-0000000000000000"
        )})  # fmt: skip
        for item_id in order:
            remove_items(other.path, images=[item_id])
        removed = read_tombstones(other.open().images.folder / "tombstones", IMAGE_COUNT)
        assert removed.tolist() == [2, 9, 20]
