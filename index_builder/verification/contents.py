"""The items of a gallery: counts, ids, texts, thumbnails, equal contents."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.batched import batched
from index_builder.galleries.immutable_file import immutable_address
from index_builder.vector_index import RowNumbers
from index_builder.verification.findings import Check, Found
from index_builder.verification.opened import OpenedGallery
from model.identifiers import caption_id, image_id_for_path

__all__ = ["check_contents", "check_counts", "check_equal_contents", "check_ids"]

_ROWS_AT_ONCE = 4096
# Rows anywhere in the files: each maps some pages around it into memory, until they are released.
_PAIRS_AT_ONCE = 256


def check_counts(opened: OpenedGallery, check: Check) -> None:
    """Compare the counts of all files with the manifest."""
    manifest = opened.gallery.manifest
    row_count = manifest.row_count
    for what, found, said in (
        ("tombstones holds", opened.gallery.removed_count, manifest.tombstone_count),
        ("items.sqlite, without tombstones, holds", opened.items.count(), manifest.count),
        # Removed items may be gone from it, so it may end before the last row.
        (
            "items.sqlite, of what was set aside, holds",
            opened.items.rejected_count(),
            manifest.rejected_count,
        ),
        ("items.sqlite reaches to", max(opened.items.end(), row_count), row_count),
    ):
        if found != said:
            check.problems.append(
                f"{opened.place}: {what} {found:,} rows but manifest.json says {said:,}; "
                f"{opened.advice}"
            )
    check.looked_at = f"{manifest.count:,} items, {opened.gallery.removed_count:,} removed"


def check_ids(opened: OpenedGallery, check: Check) -> None:
    """Compare the ids with the hash of their list, and find two that were swapped."""
    manifest = opened.gallery.manifest
    if (found := opened.items.list_sha256()) != manifest.item_list_sha256:
        check.problems.append(
            f"{opened.place}: the ids in items.sqlite have sha256 {found[:16]} but manifest.json "
            f"says {manifest.item_list_sha256[:16]}; {opened.advice}"
        )
    swapped = Found(_with_swapped_ids(opened))
    if swapped.count:
        check.problems.append(
            f"{opened.place}: rows {swapped} have the default ids of each other, as if they had "
            f"been swapped; {opened.advice}"
        )
    check.looked_at = f"{manifest.count:,} ids"


def _with_swapped_ids(opened: OpenedGallery) -> Iterator[int]:
    """Yield the rows that have each other's default ids.

    One row with the default id of another proves nothing: rows move when a gallery is compacted or
    added to, a caption's default id has its first place in it, and a picture may have two ids.
    """
    for some in batched(opened.live("row, id, path, caption"), _ROWS_AT_ONCE):
        others = {}
        for row, item_id, path, text in some:
            default = _default_id(row, path, text)
            if default != item_id:
                others[default] = row, item_id, text
        for holder in opened.items.items(others).values():
            row, item_id, text = others[holder.id]
            theirs = _default_id(holder.row, holder.path, holder.caption)
            # Equal texts may trade places in a sound gallery.
            if item_id == theirs and (text is None or text != holder.caption):
                yield row


def _default_id(row: int, path: str | None, caption: str | None) -> str:
    return image_id_for_path(path) if path is not None else caption_id(caption or "", row)


def check_contents(opened: OpenedGallery, check: Check) -> None:
    """Compare every text with its hash; find pictures without their small copies."""
    if opened.gallery.kind == "captions":
        check.looked_at = f"{opened.gallery.count:,} texts"
        what, wrong = "the hashes of texts", _with_another_text(opened)
    else:
        check.looked_at = f"{opened.gallery.count:,} pictures"
        what, wrong = "the small copies of pictures", _without_copies(opened)
    found = Found(wrong)
    if found.count:
        check.problems.append(
            f"{opened.place}: {what} are missing or wrong at rows {found}; {opened.advice}"
        )


def check_equal_contents(opened: OpenedGallery, check: Check) -> None:
    """Find rows of equal contents whose vectors are not equal to the last bit."""
    manifest = opened.gallery.manifest
    wrong = {name: Found() for name in opened.vector_files}
    repeated_count = 0
    for firsts, others in _equal_pairs(opened):
        repeated_count += len(others)
        for name, vectors in opened.vector_files.items():
            differs = _bits(vectors[firsts]) != _bits(vectors[others])
            wrong[name].add(others[differs.any(axis=1)].tolist())
            vectors.release()
    distinct_count = manifest.count - repeated_count
    check.looked_at = f"{distinct_count:,} contents, {repeated_count:,} rows repeat one"
    if distinct_count != manifest.distinct_count:
        check.problems.append(
            f"{opened.place}: items.sqlite holds {distinct_count:,} contents but manifest.json "
            f"says {manifest.distinct_count:,}; {opened.advice}"
        )
    for name, rows in wrong.items():
        if rows.count:
            check.problems.append(
                f"{opened.place}/{name}: rows {rows} differ from others of the same content; "
                f"{opened.advice}"
            )


def _with_another_text(opened: OpenedGallery) -> Iterator[int]:
    for row, text, content_hash in opened.live("row, caption, content_hash"):
        if text is None or hashlib.sha256(text.encode()).hexdigest() != content_hash:
            yield row


def _without_copies(opened: OpenedGallery) -> Iterator[int]:
    """Yield rows of pictures without a thumbnail; of those in shards, without a display copy."""
    thumbnails = immutable_address(opened.gallery.folder / "thumbnails.sqlite")
    live = opened.gallery.live
    with opened.reading() as connection:
        connection.execute("ATTACH ? AS small", (thumbnails,))
        # An image without a path is a row of a region array.
        found = connection.execute(
            "SELECT row FROM items WHERE path IS NOT NULL AND (NOT EXISTS (SELECT 1 FROM "
            "small.thumbnails AS t WHERE t.content_hash = items.content_hash) OR span_offset IS "
            "NOT NULL AND NOT EXISTS (SELECT 1 FROM small.display_copies AS d WHERE "
            "d.content_hash = items.content_hash)) ORDER BY row"
        )
        yield from (row for (row,) in found if live is None or live[row])


def _equal_pairs(opened: OpenedGallery) -> Iterator[tuple[RowNumbers, RowNumbers]]:
    """Yield, some at a time, the first row of a content and every other row of it."""

    def pairs() -> Iterator[tuple[int, int]]:
        first, content = -1, None
        for row, content_hash in opened.live("row, content_hash", "content_hash, row"):
            if content_hash == content:
                yield first, row
            else:
                first, content = row, content_hash

    for some in batched(pairs(), _PAIRS_AT_ONCE):
        firsts, others = np.array(some, dtype=np.int64).T
        yield firsts, others


def _bits(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.ascontiguousarray(vectors).view(f"u{vectors.dtype.itemsize}")
