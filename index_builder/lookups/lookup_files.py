"""What searches look up beside vectors: columns for filters, words of captions for full text.

Both files are made of `items.sqlite` alone, whole, whenever that changes: what is removed from it
is gone from them too, and they cannot drift apart.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from index_builder.galleries.items import ItemStore
from index_builder.galleries.manifest import ColumnType, GalleryKind
from index_builder.lookups.column_writing import write_columns
from index_builder.lookups.word_writing import write_words

__all__ = ["lookup_files", "write_lookups"]


def lookup_files(kind: GalleryKind) -> tuple[str, ...]:
    """Return the names of the files that a gallery has."""
    return ("columns.sqlite",) if kind == "images" else ("columns.sqlite", "words.sqlite")


def write_lookups(
    folder: Path, names: Iterable[str], *, items_path: Path, columns: Mapping[str, ColumnType]
) -> None:
    """Write files that are not there yet; the caller syncs them to the disk.

    The same `items.sqlite` and columns give the same bytes.

    Args:
        folder: Where they go.
        names: Of `lookup_files`.
        items_path: `items.sqlite`, which is whole.
        columns: As the manifest has them.
    """
    items = ItemStore(items_path)
    try:
        for name in names:
            if name == "columns.sqlite":
                write_columns(folder / name, items, columns)
            else:
                write_words(folder / name, items)
    finally:
        items.close()
