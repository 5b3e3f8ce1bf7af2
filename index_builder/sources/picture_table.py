"""A table of pictures: `path` (or `image`), optional `id`, everything else metadata."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.sources.columns import checked_id, checked_path, meant_as_path, other_columns
from index_builder.sources.entries import ImageEntry, Rejection
from index_builder.sources.mixed_columns import MixedColumns
from index_builder.sources.picture_file import read_picture_file
from index_builder.sources.problems import Problems
from index_builder.sources.row import Table
from index_builder.sources.table import open_table
from model.errors import DataError
from model.identifiers import image_id_for_path

__all__ = ["PictureTable"]

_OWN_COLUMNS = frozenset({"path", "image", "id"})


@dataclass(frozen=True)
class PictureTable:
    """The pictures that a table names, in its order.

    Attributes:
        table: The rows.
        root: What paths are relative to, absolute, without symbolic links.
    """

    table: Table
    root: Path

    @classmethod
    def open(cls, file: Path, images_root: Path | None = None) -> "PictureTable":
        """Return the pictures of a `.jsonl`, `.csv` or `.parquet` file.

        Raises:
            DataError: The root is no folder.
        """
        root = (images_root or file.parent).resolve()
        if not root.is_dir():
            raise DataError(f"the images' root {root} is no folder; give another --images-root")
        return cls(open_table(file, _OWN_COLUMNS), root)

    @property
    def description(self) -> str:
        """What it is, for people."""
        return str(self.table.path)

    def entries(self) -> Iterator[ImageEntry | Rejection]:
        """Yield the pictures in the order of the rows.

        Raises:
            DataError: The file cannot be used, or names no picture.
        """
        names = self.table.names()
        if names is not None and not {"path", "image"} & set(names):
            raise DataError(f"{self.description} has no column `path`; found {_told(names)}")
        problems = Problems(self.description)
        columns = MixedColumns()
        is_empty = True
        for place, values in self.table.rows(problems):
            try:
                entry = _entry(values)
            except DataError as error:
                problems.add_at(place, str(error))
                continue
            is_empty = False
            columns.look_at(place, entry.metadata)
            yield entry
        problems.refuse()
        columns.warn()
        if is_empty:
            raise DataError(f"{self.description} names no picture; write one with `path` a row")

    def read(self, entry: ImageEntry) -> bytes:
        """Return the bytes of one picture's file.

        Raises:
            EntryError: They cannot be had.
        """
        return read_picture_file(self.root, entry.path)


def _entry(row: dict[str, Any]) -> ImageEntry:
    # Captions name their picture `image`; so may the table of pictures.
    column = "image" if row.get("path") is None and row.get("image") is not None else "path"
    if column == "path" and row.get("image") is not None:
        raise DataError("`path` and `image` both name the picture; leave one out")
    if row.get(column) is None:
        if column in row:
            raise DataError("`path` is empty; fill it in, or take the line out")
        raise DataError(f"no `path` among its columns: {_told(row)}")
    path = checked_path(row[column], column)
    given = row.get("id")
    item_id = image_id_for_path(path) if given is None else checked_id(given, "id")
    metadata = other_columns(row, _OWN_COLUMNS)
    return ImageEntry(item_id, path, metadata, has_own_id=given is not None)


def _told(names: Collection[str]) -> str:
    """Return the names of columns, and which of them `path` may be."""
    meant = meant_as_path(name for name in names if name not in _OWN_COLUMNS)
    return (", ".join(names) or "none") + (f"; call `{meant}` `path`" if meant else "")
