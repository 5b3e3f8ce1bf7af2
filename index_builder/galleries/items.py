"""What a row of a gallery stands for, read from `items.sqlite` by batches."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from index_builder.galleries.immutable_file import ImmutableFile
from index_builder.sources.entries import Rejection, Span
from index_builder.sources.stamps import NO_STAMP, Stamp

__all__ = [
    "ITEM_COLUMNS",
    "Item",
    "ItemStore",
    "SourceOfItem",
]

_REJECTED_AT_ONCE = 10_000
_IDS_AT_ONCE = 100_000
ITEM_COLUMNS = (
    "id, row, caption, image_id, path, width, height, metadata, content_hash, "
    "stamp_size, stamp_time, span_offset, span_size"
)


@dataclass(frozen=True, slots=True)
class Item:
    """One image or one caption of a gallery.

    Attributes:
        id: Unique in its gallery.
        row: Its place in the vector index.
        caption: The text; None for an image.
        image_id: The picture that a caption belongs to, if the source said so.
        path: Path of a picture, posix, relative to the images' root; None for a caption, and for
            an image that is a row of a region array.
        width: Of the upright picture, in pixels.
        height: Of the upright picture, in pixels.
        metadata: The other columns of the source.
        content_hash: sha256 of the picture's file, of the regions or of the text.
        stamp: Of the file that a picture was read from; tells whether it changed since.
        span: Where a picture's bytes lie in a shard; None for a file of its own.
    """

    id: str
    row: int
    caption: str | None = None
    image_id: str | None = None
    path: str | None = None
    width: int | None = None
    height: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    content_hash: str = ""
    stamp: Stamp = NO_STAMP
    span: Span | None = None


class SourceOfItem(NamedTuple):
    """What a source knows an item by.

    Attributes:
        id: Of the item.
        path: Of a picture, as in `Item`.
        content_hash: Of the picture's file, the regions or the text.
    """

    id: str
    path: str | None
    content_hash: str


class ItemStore:
    """The items of a gallery; every question is answered for many items at once.

    Args:
        path: `items.sqlite`, which is not changed.
        removed: Rows whose items are known to nobody any more; only their contents are.
    """

    def __init__(self, path: Path, removed: Sequence[int] = ()) -> None:
        self._file = ImmutableFile(path)
        with self._file.reading() as connection:
            # Temporary tables lie in memory, beside the file.
            connection.executescript(
                "PRAGMA temp_store = MEMORY; CREATE TEMP TABLE removed (row INTEGER PRIMARY KEY);"
                "CREATE TEMP VIEW live AS SELECT * FROM items WHERE row NOT IN removed"
            )
            rows = ((int(row),) for row in removed)
            connection.executemany("INSERT INTO removed VALUES (?)", rows)
            connection.commit()

    def count(self) -> int:
        """Return the number of items."""
        return int(self._select("SELECT count(*) FROM live")[0][0])

    def distinct_count(self) -> int:
        """Return the number of items with different contents."""
        return int(self._select("SELECT count(DISTINCT content_hash) FROM live")[0][0])

    def rejected_count(self) -> int:
        """Return the number of inputs that were set aside."""
        return int(self._select("SELECT count(*) FROM rejected")[0][0])

    def metadata(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield row and metadata of every item, in row order."""
        statement = "SELECT row, metadata FROM live WHERE row >= ? AND row < ? ORDER BY row"
        for start in range(0, self.end(), _IDS_AT_ONCE):
            for row, metadata in self._select(statement, start, start + _IDS_AT_ONCE):
                yield row, json.loads(metadata)

    def captions(self) -> Iterator[tuple[int, str]]:
        """Yield row and text of every item that has a text, in row order."""
        statement = (
            "SELECT row, caption FROM live WHERE caption IS NOT NULL AND row >= ? AND row < ? "
            "ORDER BY row"
        )
        for start in range(0, self.end(), _IDS_AT_ONCE):
            yield from self._select(statement, start, start + _IDS_AT_ONCE)

    def image_ids_of_rows(self, rows: Iterable[int]) -> dict[int, str]:
        """Return the picture that the caption of each row names, of those that name one."""
        wanted = json.dumps([int(row) for row in rows])
        statement = (
            "SELECT row, image_id FROM live WHERE image_id IS NOT NULL AND "
            "row IN (SELECT value FROM json_each(?))"
        )
        return dict(self._select(statement, wanted))

    def end(self) -> int:
        """Return the number behind the last row, removed ones included."""
        return int(self._select("SELECT coalesce(max(row) + 1, 0) FROM items")[0][0])

    def list_sha256(self) -> str:
        """Return the sha256 of all ids in row order, a line each."""
        digest = hashlib.sha256()
        # Joined by SQLite: a service that opens a million items asks for this first.
        statement = (
            "SELECT group_concat(id, char(10)) FROM "
            "(SELECT id FROM live WHERE row >= ? AND row < ? ORDER BY row)"
        )
        for start in range(0, self.end(), _IDS_AT_ONCE):
            ((ids,),) = self._select(statement, start, start + _IDS_AT_ONCE)
            if ids is not None:
                digest.update(f"{ids}\n".encode())
        return digest.hexdigest()

    def ids_of_rows(self, rows: Iterable[int]) -> dict[int, str]:
        """Return the id of each row."""
        wanted = json.dumps([int(row) for row in rows])
        return dict(
            self._select(
                "SELECT row, id FROM live WHERE row IN (SELECT value FROM json_each(?))", wanted
            )
        )

    def rows_of_ids(self, ids: Iterable[str]) -> dict[str, int]:
        """Return the row of each id that there is."""
        wanted = json.dumps(list(ids))
        return dict(
            self._select(
                "SELECT id, row FROM live WHERE id IN (SELECT value FROM json_each(?))", wanted
            )
        )

    def owners_of_rows(self, rows: Iterable[int]) -> dict[int, str]:
        """Return for each row the id of the picture that its caption names, else its content."""
        wanted = json.dumps([int(row) for row in rows])
        return dict(
            self._select(
                "SELECT row, coalesce(image_id, content_hash) FROM live "
                "WHERE row IN (SELECT value FROM json_each(?))",
                wanted,
            )
        )

    def ids_naming(self, image_ids: Iterable[str]) -> list[str]:
        """Return the ids of the captions that name one of these images."""
        wanted = json.dumps(list(image_ids))
        statement = "SELECT id FROM live WHERE image_id IN (SELECT value FROM json_each(?))"
        return [item_id for (item_id,) in self._select(statement, wanted)]

    def rows_naming(self, image_ids: Iterable[str]) -> list[tuple[str, int]]:
        """Return the captions that name one of these images, as (image_id, row)."""
        wanted = json.dumps(list(image_ids))
        statement = (
            "SELECT image_id, row FROM live WHERE image_id IN (SELECT value FROM json_each(?))"
        )
        return self._select(statement, wanted)

    def ids_of_paths(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the id of each path that there is."""
        return dict(self.pictures_of_paths(paths))

    def pictures_of_paths(self, paths: Iterable[str]) -> list[tuple[str, str]]:
        """Return the pictures at some paths, as (path, id); several may have the same path."""
        wanted = json.dumps(list(paths))
        statement = "SELECT path, id FROM live WHERE path IN (SELECT value FROM json_each(?))"
        return self._select(statement, wanted)

    def sources_of_rows(self, start: int, stop: int) -> list[SourceOfItem]:
        """Return what a source knows the items from row `start` to before row `stop` by."""
        statement = (
            "SELECT id, path, content_hash FROM live WHERE row >= ? AND row < ? ORDER BY row"
        )
        return [SourceOfItem(*row) for row in self._select(statement, start, stop)]

    def contents_among(self, content_hashes: Iterable[str]) -> set[str]:
        """Return those of some contents that an item shows."""
        wanted = json.dumps(list(content_hashes))
        statement = (
            "SELECT DISTINCT content_hash FROM live "
            "WHERE content_hash IN (SELECT value FROM json_each(?))"
        )
        return {content_hash for (content_hash,) in self._select(statement, wanted)}

    def items(self, ids: Iterable[str]) -> dict[str, Item]:
        """Return the items of `ids` by id, in the order asked; unknown ids are left out."""
        asked = list(ids)
        found = {
            item.id: item
            for item in self._items(
                "live", "id IN (SELECT value FROM json_each(?))", json.dumps(asked)
            )
        }
        return {item_id: found[item_id] for item_id in asked if item_id in found}

    def items_at(self, rows: Iterable[int]) -> dict[int, Item]:
        """Return the items of some rows, by row."""
        wanted = json.dumps([int(row) for row in rows])
        where = "row IN (SELECT value FROM json_each(?))"
        return {item.row: item for item in self._items("live", where, wanted)}

    def items_of_rows(self, start: int, stop: int) -> list[Item]:
        """Return the items from row `start` to before row `stop`, in order."""
        return self._items("live", "row >= ? AND row < ? ORDER BY row", start, stop)

    def items_showing(self, content_hashes: Iterable[str]) -> list[Item]:
        """Return all items of some contents, in row order."""
        wanted = json.dumps(list(content_hashes))
        where = "content_hash IN (SELECT value FROM json_each(?)) ORDER BY row"
        return self._items("live", where, wanted)

    def items_of_contents(self, content_hashes: Iterable[str]) -> dict[str, Item]:
        """Return by content its first row; also of a removed item: the content is still there."""
        wanted = json.dumps(list(content_hashes))
        first = "SELECT min(row) FROM items WHERE content_hash IN (SELECT value FROM json_each(?))"
        found = self._items("items", f"row IN ({first} GROUP BY content_hash)", wanted)
        return {item.content_hash: item for item in found}

    def content_of_file(self, path: str, stamp: Stamp, span: Span | None) -> str | None:
        """Return the content of the picture at a path, if its file had this stamp then."""
        statement = (
            "SELECT content_hash FROM items WHERE path = ? AND stamp_size = ? AND stamp_time = ? "
            "AND span_offset IS ? AND span_size IS ?"
        )
        offset, size = span or (None, None)
        found = self._select(statement, path, *stamp, offset, size)
        return found[0][0] if found else None

    def rejected(self) -> Iterator[Rejection]:
        """Yield the inputs that were set aside when the gallery was built."""
        last = 0
        statement = "SELECT rowid, place, code, reason FROM rejected WHERE rowid > ? ORDER BY rowid"
        while rows := self._select(f"{statement} LIMIT {_REJECTED_AT_ONCE}", last):
            yield from (Rejection(*rejection) for _, *rejection in rows)
            last = rows[-1][0]

    def rejected_of(self, places: Iterable[str]) -> list[Rejection]:
        """Return what was set aside of some places."""
        statement = (
            "SELECT place, code, reason FROM rejected "
            "WHERE place IN (SELECT value FROM json_each(?))"
        )
        return [Rejection(*row) for row in self._select(statement, json.dumps(list(places)))]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _items(self, table: str, where: str, *values: str | int) -> list[Item]:
        rows = self._select(f"SELECT {ITEM_COLUMNS} FROM {table} WHERE {where}", *values)
        return [_as_item(row) for row in rows]

    def _select(self, statement: str, *values: str | int | None) -> list[tuple[Any, ...]]:
        return self._file.select(statement, *values)


def _as_item(row: tuple[Any, ...]) -> Item:
    *columns, metadata, content_hash, size, time, span_offset, span_size = row
    return Item(
        *columns,  # type: ignore[misc]
        metadata=json.loads(metadata),
        content_hash=content_hash,
        stamp=(size, time),
        span=None if span_offset is None else Span(span_offset, span_size),
    )
