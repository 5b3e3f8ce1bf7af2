"""The background sample: of different owners, the same bytes again, right through every change."""

from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest

from index_builder.galleries.background import (
    MOST_ROWS,
    Background,
    read_background,
    write_background,
)
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.writing.change_draft import ChangeDraft
from index_builder.writing.compaction import compact
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import caption_items, unit_rows, write_gallery

COUNT = 60
ITEMS = [replace(item, content_hash=f"{item.row:064x}") for item in caption_items(COUNT)]


@pytest.fixture
def gallery(tmp_path):
    """Sixty captions, two of each of thirty pictures."""
    with closing(Gallery.open(write_gallery(tmp_path, unit_rows(COUNT), ITEMS))) as opened:
        yield opened


def owners(gallery):
    ids = gallery.ids_of_rows(gallery.background.rows.tolist())
    return [item.image_id for item in gallery.items(list(ids.values())).values()]


def stored(gallery):
    return (gallery.folder / "background.npy").read_bytes()


def test_the_sample_has_one_vector_of_each_picture_that_captions_name(gallery):
    assert sorted(owners(gallery)) == sorted(f"i{number}" for number in range(COUNT // 2))
    rows = gallery.background.rows
    vectors = unit_rows(COUNT)[rows].astype(np.float16).astype(np.float32)
    assert np.array_equal(gallery.background.vectors, vectors)


def test_equal_contents_are_one_owner_where_captions_name_no_picture(tmp_path):
    hashes = ["a", "b", "a", "c", "b", "a"]
    items = [
        Item(f"c{row}", row, caption=content, content_hash=content)
        for row, content in enumerate(hashes)
    ]
    with closing(Gallery.open(write_gallery(tmp_path, unit_rows(6), items))) as opened:
        assert sorted(hashes[row] for row in opened.background.rows) == ["a", "b", "c"]


def test_of_a_large_gallery_it_is_a_thousand_rows_from_all_over_it(tmp_path):
    count = 3 * MOST_ROWS
    items = [replace(item, image_id=f"i{item.row}") for item in caption_items(count)]
    with closing(Gallery.open(write_gallery(tmp_path, unit_rows(count), items))) as opened:
        rows = opened.background.rows
    assert len(rows) == MOST_ROWS
    thirds = np.histogram(rows, bins=3, range=(0, count))[0]
    assert thirds.min() > 0.8 * MOST_ROWS / 3


def test_the_same_gallery_has_the_same_bytes(gallery, tmp_path):
    again = write_gallery(tmp_path / "again", unit_rows(COUNT), ITEMS)
    assert stored(gallery) == (again / "background.npy").read_bytes()


def test_what_is_removed_leaves_the_sample_and_the_rest_stays(gallery, tmp_path):
    gone = gallery.background.rows[:3].tolist()
    with ChangeDraft(tmp_path / ".draft", gallery) as draft:
        draft.remove(gone)
        folder = draft.finish(tmp_path / "captions-1111111111111111")
    with closing(Gallery.open(folder)) as changed:
        assert changed.background.rows.tolist() == gallery.background.rows[3:].tolist()
        assert np.array_equal(changed.background.vectors, gallery.background.vectors[3:])


def test_what_is_added_may_be_drawn(gallery, tmp_path):
    added = [
        Item(f"new{row}", row, caption=f"new {row}", image_id=f"new{row}")
        for row in range(COUNT, COUNT + 10)
    ]
    with ChangeDraft(tmp_path / ".draft", gallery) as draft:
        draft.add_contents(unit_rows(10, seed=1))
        draft.append(added, np.arange(10))
        folder = draft.finish(tmp_path / "captions-1111111111111111")
    with closing(Gallery.open(folder)) as changed:
        assert set(owners(changed)) == {*owners(gallery), *(item.id for item in added)}


def test_a_compacted_gallery_has_the_sample_that_it_would_be_built_with(gallery, tmp_path):
    with ChangeDraft(tmp_path / ".draft", gallery) as draft:
        draft.remove(range(20))
        changed = draft.finish(tmp_path / "captions-1111111111111111")
    with closing(Gallery.open(changed)) as opened:
        compacted = compact(opened, tmp_path / ".again", tmp_path / "captions-2222222222222222")
    left = [replace(item, row=row) for row, item in enumerate(ITEMS[20:])]
    anew = write_gallery(tmp_path / "anew", unit_rows(COUNT)[20:], left)
    assert (compacted / "background.npy").read_bytes() == (anew / "background.npy").read_bytes()


@pytest.mark.parametrize(
    ("rows", "dim"),
    [([0, 5], 8), ([5, 0], 16), ([0, COUNT], 16), ([-1, 3], 16), (range(MOST_ROWS + 1), 16)],
)
def test_a_file_of_other_rows_or_widths_is_refused(tmp_path, rows, dim):
    numbers = np.array(rows, dtype=np.int64)
    write_background(tmp_path / "file", Background(numbers, unit_rows(len(numbers), dim)))
    with pytest.raises(GalleryIndexError, match="holds other things than"):
        read_background(tmp_path / "file", 16, COUNT if len(numbers) == 2 else 2 * MOST_ROWS)


@pytest.mark.parametrize("kept_bytes", [0, 10, 200])
def test_a_file_that_was_cut_off_is_refused(gallery, kept_bytes):
    place = gallery.folder / "background.npy"
    place.write_bytes(place.read_bytes()[:kept_bytes])
    with pytest.raises(GalleryIndexError, match="is damaged"):
        read_background(place, 16, COUNT)
    place.unlink()
    with pytest.raises(GalleryIndexError, match="is missing"):
        read_background(place, 16, COUNT)
