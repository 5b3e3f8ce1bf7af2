"""A changed gallery vouches for nothing that the one before does not vouch for."""

from dataclasses import replace

import numpy as np
import pytest

from index_builder.galleries import gallery_files
from index_builder.galleries.background import BACKGROUND_FILE
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.vector_index import IndexRequest
from index_builder.writing.change_draft import ChangeDraft
from index_builder.writing.compaction import compact
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import unit_rows, write_gallery

COUNT = 30
# Other files of a gallery are made of these.
FILES = ["index.faiss", "embeddings.f16", "items.sqlite", "thumbnails.sqlite"]


def picture(row):
    return Item(f"i{row}", row, path=f"{row}.png", width=1, height=1, content_hash=f"{row:064x}")


def append(opened, folder):
    with ChangeDraft(folder.with_name(".draft"), opened) as draft:
        new = picture(COUNT)
        draft.add_contents(unit_rows(1, seed=5), [(new.content_hash, b"a JPEG")])
        draft.append([new], np.zeros(1, np.int64))
        return draft.finish(folder)


def remove(opened, folder):
    with ChangeDraft(folder.with_name(".draft"), opened) as draft:
        draft.remove([3])
        return draft.finish(folder)


def compacted(opened, folder):
    return compact(opened, folder.with_name(".draft"), folder)


@pytest.fixture(params=["exact", "hnsw"])
def folder(request, tmp_path):
    name, items = "images-0000000000000000", [picture(row) for row in range(COUNT)]
    index = {"index_kind": request.param, "index": IndexRequest(kind=request.param)}
    return write_gallery(tmp_path, unit_rows(COUNT), items, name=name, **index)


@pytest.fixture
def hashed(monkeypatch):
    """The names of the files that a gallery hashes, in the order in which it does."""
    names, real = [], gallery_files.record_of_file

    def recording(path):
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(gallery_files, "record_of_file", recording)
    return names


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("change", [append, compacted])
@pytest.mark.parametrize("name", FILES)
def test_no_file_is_made_of_one_that_was_damaged(folder, monkeypatch, change, name):
    """Opening compares only lengths here, as of files over 1 GiB."""
    monkeypatch.setattr(gallery_files, "_HASHED_BYTES", 0)
    damage(folder / name)
    opened = Gallery.open(folder)
    after = folder.with_name("images-1111111111111111")
    with pytest.raises(GalleryIndexError, match=f"{name} has sha256 .* but manifest.json says"):
        change(opened, after)
    assert [path.name for path in after.parent.iterdir()] == [folder.name]
    opened.close()


def test_a_file_that_is_linked_keeps_the_hash_that_tells_of_its_damage(folder, monkeypatch, hashed):
    monkeypatch.setattr(gallery_files, "_HASHED_BYTES", 0)
    for name in FILES:
        damage(folder / name)
    opened = Gallery.open(folder)
    after = remove(opened, folder.with_name("images-1111111111111111"))
    # The first is empty, so no larger than 0 bytes; the other is written again without the row.
    assert hashed == ["tombstones", BACKGROUND_FILE]
    monkeypatch.undo()
    with pytest.raises(GalleryIndexError, match=r"has sha256 .* but manifest.json says"):
        Gallery.open(after)
    opened.close()


@pytest.mark.parametrize("hashed_bytes", [0, 1 << 30])
def test_a_file_is_hashed_once_whether_on_opening_or_later(
    folder, monkeypatch, hashed, hashed_bytes
):
    monkeypatch.setattr(gallery_files, "_HASHED_BYTES", hashed_bytes)
    opened = Gallery.open(folder)
    every_file = {*FILES, BACKGROUND_FILE, "columns.sqlite", "tombstones"}
    assert set(hashed) == (every_file if hashed_bytes else {"tombstones"})
    for number, change in enumerate((append, append, compacted), 1):
        change(opened, folder.with_name(f"images-{number:016}"))
    assert sorted(hashed) == sorted(every_file)
    opened.close()


@pytest.mark.parametrize("gone", [0, 1, 3])
def test_columns_are_those_of_the_items_that_are_left(tmp_path, gone):
    metadata = [{"year": "unknown", "only": 1}, {"year": 1900}, {"year": 1901}, {"late": True}]
    items = [
        Item(f"c{row}", row, caption=f"text {row}", metadata=each, content_hash=f"{row:064x}")
        for row, each in enumerate(metadata)
    ]
    opened = Gallery.open(write_gallery(tmp_path, unit_rows(4), items))
    with ChangeDraft(tmp_path / ".draft", opened) as draft:
        draft.remove([gone])
        changed = Gallery.open(draft.finish(tmp_path / "captions-1111111111111111"))
    left = [replace(item, row=row) for row, item in enumerate(i for i in items if i.row != gone)]
    anew = Gallery.open(write_gallery(tmp_path / "anew", unit_rows(3), left))
    assert changed.manifest.columns == anew.manifest.columns
    assert list(changed.manifest.columns) == list(anew.manifest.columns)
    for each in (opened, changed, anew):
        each.close()
