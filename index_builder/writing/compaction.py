"""Compaction: a gallery written again from itself, without the rows that were removed.

No source is read and nothing is encoded: vectors, items and small copies come from the gallery. Its
vector index is built anew, since removed rows cannot be taken out of graphs and codes.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from index_builder.encoding.contents import Contents
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import GalleryKind, gallery_name
from index_builder.vector_index import IndexRequest, TuningQueries
from index_builder.writing.draft import EncoderRecord, GalleryDraft

__all__ = ["MOST_TOMBSTONES", "compact", "compacted_name", "needs_compaction"]

MOST_TOMBSTONES = 0.2

_ROWS_AT_ONCE = 4096


def needs_compaction(gallery: Gallery) -> bool:
    """Return whether more than a fifth of a gallery's rows are of removed items."""
    return gallery.row_count - gallery.count > MOST_TOMBSTONES * gallery.row_count


def compacted_name(kind: GalleryKind, name: str) -> str:
    """Return the name of what `compact` makes of the gallery of that name."""
    return gallery_name(kind, hashlib.sha256(f"compacted {name}".encode()).hexdigest())


def compact(
    gallery: Gallery, draft_folder: Path, folder: Path, *, queries: TuningQueries | None = None
) -> Path:
    """Write a gallery's items to another folder and return that.

    Args:
        gallery: Stays as it is.
        draft_folder: Where it lies until it is whole; to be made.
        folder: `<kind>-<hash>`.
        queries: What the vector index is tuned and measured with; None takes points between rows.

    Raises:
        GalleryIndexError: A file of the gallery is damaged.
    """
    manifest = gallery.manifest
    for name in manifest.files:
        gallery.check_file(name)
    encoder = EncoderRecord(
        manifest.encoder,
        manifest.checkpoint_fingerprint,
        manifest.dim,
        manifest.preprocessing,
        manifest.precision,
    )
    record = manifest.index
    factory = record.factory if record.kind == "factory" else None
    with GalleryDraft(draft_folder, gallery.kind, encoder) as draft:
        contents = Contents(draft_folder / "contents.sqlite")
        row = 0
        for start in range(0, gallery.row_count, _ROWS_AT_ONCE):
            items = gallery.items_of_rows(start, start + _ROWS_AT_ONCE)
            _add(draft, contents, gallery, items, row)
            row += len(items)
        contents.remove()
        draft.add_rejections(gallery.rejected())
        return draft.finish(
            folder,
            index_kind=record.kind,
            index=IndexRequest(recall=record.target_recall, factory=factory),
            queries=queries,
        )


def _add(
    draft: GalleryDraft, contents: Contents, gallery: Gallery, items: list[Item], first_row: int
) -> None:
    """Append items to the draft, and those of their contents that are new to it."""
    digests = [bytes.fromhex(item.content_hash) for item in items]
    first_new = contents.count
    contents.add(digests)
    numbers = contents.numbers(digests)
    # Numbers count up in order of appearance: the first item of each new one, in that order.
    found, places = np.unique(numbers, return_index=True)
    new = [items[place] for place in places[found >= first_new]]
    if new:
        vectors = gallery.vectors_of_rows(np.array([item.row for item in new], dtype=np.int64))
        hashes = [item.content_hash for item in new]
        draft.add_contents(vectors, ((each, gallery.thumbnail_of_content(each)) for each in hashes))
        copies = ((each, gallery.display_copy_of_content(each)) for each in hashes)
        draft.add_display_copies((each, copy) for each, copy in copies if copy is not None)
    draft.add_items((replace(item, row=row) for row, item in enumerate(items, first_row)), numbers)
