"""What a row of a gallery stands for: `items.sqlite`, written once, then read by batches.

The file never changes after it was renamed into place, so readers open it `immutable`: no locks,
no journal, no look at the folder.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from index_builder.stamps import NO_STAMP, Stamp
from model.errors import GalleryIndexError

__all__ = [
    "Item",
    "ItemStore",
    "ItemWriter",
    "Rejection",
    "Span",
    "immutable_address",
    "open_immutable",
]

_SCHEMA = """
CREATE TABLE items (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    caption TEXT,
    image_id TEXT,
    path TEXT,
    width INTEGER,
    height INTEGER,
    content_hash TEXT NOT NULL,
    metadata TEXT NOT NULL,
    stamp_size INTEGER NOT NULL,
    stamp_time INTEGER NOT NULL,
    span_offset INTEGER,
    span_size INTEGER
);
CREATE TABLE rejected (place TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL);
"""
# Made last: sorting once is quicker than keeping them in order.
_LOOKUPS = (
    "CREATE INDEX items_image_id ON items (image_id) WHERE image_id IS NOT NULL",
    "CREATE INDEX items_path ON items (path) WHERE path IS NOT NULL",
    "CREATE INDEX items_content_hash ON items (content_hash)",
)
_REJECTED_AT_ONCE = 10_000
_IDS_AT_ONCE = 100_000
_COLUMNS = (
    "id, row, caption, image_id, path, width, height, metadata, content_hash, "
    "stamp_size, stamp_time, span_offset, span_size"
)
_MARKS = ", ".join("?" * len(_COLUMNS.split(",")))


class Span(NamedTuple):
    """Where the bytes of a picture lie in the file that holds it and others.

    Attributes:
        offset: Of the first byte.
        size: In bytes.
    """

    offset: int
    size: int


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


@dataclass(frozen=True, slots=True)
class Rejection:
    """An input that was set aside.

    Attributes:
        place: Where it came from: a path, or file:line.
        code: `missing`, `unreadable`, `too_many_pixels`, `too_large`, `outside_root`, `changed`,
            `crashed`, `no_picture`, `empty`.
        reason: One sentence.
    """

    place: str
    code: str
    reason: str


class ItemWriter:
    """Writes a new `items.sqlite`, item after item; the caller syncs it to the disk.

    The same items in the same order give the same bytes.
    """

    def __init__(self, path: Path) -> None:
        """Create the file."""
        self._connection = sqlite3.connect(path, isolation_level=None)
        # Nobody reads a half-built gallery, so a journal would only cost time.
        self._connection.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA} BEGIN"
        )

    def add(self, items: Iterable[Item]) -> None:
        """Append items, in row order."""
        self._connection.executemany(
            f"INSERT INTO items ({_COLUMNS}) VALUES ({_MARKS})",
            (_as_tuple(item) for item in items),
        )

    def reject(self, rejections: Iterable[Rejection]) -> None:
        """Append inputs that were set aside."""
        self._connection.executemany(
            "INSERT INTO rejected VALUES (?, ?, ?)",
            ((entry.place, entry.code, entry.reason) for entry in rejections),
        )

    def finish(self) -> None:
        """Write everything and close the file."""
        for statement in (*_LOOKUPS, "COMMIT"):
            self._connection.execute(statement)
        self._connection.close()

    def close(self) -> None:
        """Close the file as it is; harmless after `finish`."""
        self._connection.close()


def open_immutable(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to a file that never changes; usable from any thread."""
    if not path.is_file():
        raise GalleryIndexError(f"{path} is missing; build the index again")
    return sqlite3.connect(immutable_address(path), uri=True, check_same_thread=False)


def immutable_address(path: Path) -> str:
    """Return the address by which SQLite opens or attaches a file that never changes."""
    return f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"


class ItemStore:
    """The items of a gallery; every question is answered for many items at once.

    Args:
        path: `items.sqlite`, which is not changed.
        removed: Rows whose items are known to nobody any more; only their contents are.
    """

    def __init__(self, path: Path, removed: Sequence[int] = ()) -> None:
        self.path = path
        self._connection = open_immutable(path)
        self._lock = threading.Lock()
        # Temporary tables lie in memory, beside the file.
        self._connection.executescript(
            "PRAGMA temp_store = MEMORY; CREATE TEMP TABLE removed (row INTEGER PRIMARY KEY);"
            "CREATE TEMP VIEW live AS SELECT * FROM items WHERE row NOT IN removed"
        )
        rows = ((int(row),) for row in removed)
        self._connection.executemany("INSERT INTO removed VALUES (?)", rows)
        self._connection.commit()

    def count(self) -> int:
        """Return the number of items."""
        return int(self._select("SELECT count(*) FROM live")[0][0])

    def end(self) -> int:
        """Return the number behind the last row, removed ones included."""
        return int(self._select("SELECT coalesce(max(row) + 1, 0) FROM items")[0][0])

    def list_sha256(self) -> str:
        """Return the sha256 of all ids in row order, a line each."""
        digest = hashlib.sha256()
        for start in range(0, self.end(), _IDS_AT_ONCE):
            statement = "SELECT id FROM live WHERE row >= ? AND row < ? ORDER BY row"
            for (item_id,) in self._select(statement, start, start + _IDS_AT_ONCE):
                digest.update(f"{item_id}\n".encode())
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

    def ids_of_paths(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the id of each path that there is."""
        wanted = json.dumps(list(paths))
        return dict(
            self._select(
                "SELECT path, id FROM live WHERE path IN (SELECT value FROM json_each(?))", wanted
            )
        )

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

    def items_of_contents(self, content_hashes: Iterable[str]) -> dict[str, Item]:
        """Return by content its first row; also of a removed item: the content is still there."""
        wanted = json.dumps(list(content_hashes))
        first = "SELECT min(row) FROM items WHERE content_hash IN (SELECT value FROM json_each(?))"
        found = self._items("items", f"row IN ({first} GROUP BY content_hash)", wanted)
        return {item.content_hash: item for item in found}

    def rejected(self) -> Iterator[Rejection]:
        """Yield the inputs that were set aside when the gallery was built."""
        last = 0
        statement = "SELECT rowid, place, code, reason FROM rejected WHERE rowid > ? ORDER BY rowid"
        while rows := self._select(f"{statement} LIMIT {_REJECTED_AT_ONCE}", last):
            yield from (Rejection(*rejection) for _, *rejection in rows)
            last = rows[-1][0]

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _items(self, table: str, where: str, *values: str) -> list[Item]:
        rows = self._select(f"SELECT {_COLUMNS} FROM {table} WHERE {where}", *values)
        return [_as_item(row) for row in rows]

    def _select(self, statement: str, *values: str | int) -> list[tuple[Any, ...]]:
        try:
            with self._lock:
                return self._connection.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise GalleryIndexError(
                f"{self.path} cannot be read ({error}); build the index again"
            ) from error


def _as_item(row: tuple[Any, ...]) -> Item:
    *columns, metadata, content_hash, size, time, span_offset, span_size = row
    return Item(
        *columns,  # type: ignore[misc]
        metadata=json.loads(metadata),
        content_hash=content_hash,
        stamp=(size, time),
        span=None if span_offset is None else Span(span_offset, span_size),
    )


def _as_tuple(item: Item) -> Sequence[Any]:
    return (
        item.id, item.row, item.caption, item.image_id, item.path, item.width, item.height,
        json.dumps(item.metadata, ensure_ascii=False), item.content_hash, *item.stamp,
        *(item.span or (None, None)),
    )  # fmt: skip
