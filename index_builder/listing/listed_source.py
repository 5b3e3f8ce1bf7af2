"""What a source named, in row order, in a file: so memory stays flat however long the list is.

The listing decides what a build is about: its hash covers every id, path, text and metadata, and
work that was begun is found again by it.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from index_builder.sources import CaptionEntry, ImageEntry, Span
from index_builder.sources.entries import Rejection
from index_builder.sources.problems import SHOWN_PROBLEM_COUNT, Problems

__all__ = ["ListedEntry", "Listing"]

_SHOWN_PLACE_COUNT = 5
_CHOSEN_AT_ONCE = 1024
_COLUMNS = (
    "id, path, span_offset, span_size, caption, image_id, image_path, metadata, has_own_id, origin"
)
_SCHEMA = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
CREATE TABLE entries (
    place INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    path TEXT,
    span_offset INTEGER,
    span_size INTEGER,
    caption TEXT,
    image_id TEXT,
    image_path TEXT,
    metadata TEXT NOT NULL,
    has_own_id INTEGER NOT NULL,
    origin TEXT NOT NULL
);
CREATE TABLE rejected (place TEXT NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class ListedEntry:
    """One image or caption that a source named.

    Attributes:
        place: From 0, in the order of the source.
        id: Unique in the listing.
        path: Of a picture, below the images' root; None for captions and region arrays.
        span: Where in a shard a picture's bytes lie; None for a file of its own.
        caption: The text; None for an image.
        image_id: The picture that a caption belongs to, if named by id.
        image_path: The same, if named by path.
        metadata: The other columns.
        has_own_id: The source gave the id; else it is made of path, or of text and place.
        origin: Where a caption stands in its source, for people.
    """

    place: int
    id: str
    path: str | None = None
    span: Span | None = None
    caption: str | None = None
    image_id: str | None = None
    image_path: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    has_own_id: bool = True
    origin: str = field(default="", compare=False)


class Listing:
    """The entries of a source in an SQLite file.

    Attributes:
        path: The file.
        count: Number of entries.
        sha256: Over everything in it but `origin`, the order included.
    """

    def __init__(self, path: Path, count: int, sha256: str) -> None:
        """Open a listing that `write` made."""
        self.path = path
        self.count = count
        self.sha256 = sha256
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._lock = threading.Lock()

    @classmethod
    def write(
        cls, path: Path, entries: Iterable[ImageEntry | CaptionEntry | Rejection], description: str
    ) -> "Listing":
        """Return the listing of `entries`, streamed into a new file at `path`.

        Raises:
            DataError: An id stands twice, or whatever the source refuses.
        """
        rows = (each if isinstance(each, Rejection) else _columns(each) for each in entries)
        return cls._write(path, rows, description)

    def chosen(
        self, path: Path, choose: Callable[[list[ListedEntry]], list[ListedEntry]]
    ) -> "Listing":
        """Return another listing of what is chosen of the entries, in a new file at `path`.

        Args:
            path: Where it is written.
            choose: Returns those of some entries, in order, that are wanted, perhaps changed. Of
                several that get the same id the first stays.
        """

        def rows() -> Iterator[tuple[Any, ...] | Rejection]:
            yield from self.rejected()
            for start in range(0, self.count, _CHOSEN_AT_ONCE):
                yield from map(_columns_of, choose(self.entries(start, start + _CHOSEN_AT_ONCE)))

        return self._write(path, rows(), None)

    def names_pictures(self) -> bool:
        """Return whether any caption names a picture, by its id or its path."""
        (found,) = self._connection.execute(
            "SELECT EXISTS (SELECT 1 FROM entries WHERE image_id != '' OR image_path != '')"
        ).fetchone()
        return bool(found)

    def metadata_names(self) -> frozenset[str]:
        """Return the metadata columns in which any entry has a value."""
        rows = self._connection.execute("SELECT DISTINCT key FROM entries, json_each(metadata)")
        return frozenset(name for (name,) in rows)

    @classmethod
    def _write(
        cls, path: Path, rows: Iterable[tuple[Any, ...] | Rejection], description: str | None
    ) -> "Listing":
        """Write rows; equal ids are refused with a description, and passed over without one."""
        digest = hashlib.sha256()
        count = 0
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.executescript(_SCHEMA + "BEGIN")
            if description is None:
                connection.execute("CREATE UNIQUE INDEX ids ON entries (id)")
            for row in rows:
                if isinstance(row, Rejection):
                    written = astuple(row)
                    connection.execute("INSERT INTO rejected VALUES (?, ?, ?)", written)
                else:
                    written = (count, *row)
                    marks = ", ".join("?" * len(written))
                    insert = f"INSERT OR IGNORE INTO entries VALUES ({marks})"
                    if not connection.execute(insert, written).rowcount:
                        continue
                    count += 1
                    written = written[:-1]  # `origin` is for people, and makes no other work
                digest.update(json.dumps(written).encode() + b"\n")
            if description is not None:
                _refuse_duplicates(connection, description)
            connection.execute("COMMIT")
        finally:
            connection.close()
        return cls(path, count, digest.hexdigest())

    def entries(self, start: int, stop: int) -> list[ListedEntry]:
        """Return the entries from `start` to before `stop`, in order; from any thread."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT place, {_COLUMNS} FROM entries "
                "WHERE place >= ? AND place < ? ORDER BY place",
                (start, stop),
            ).fetchall()
        return [_as_entry(row) for row in rows]

    def known_ids(self, ids: Iterable[str]) -> set[str]:
        """Return those of some ids that an entry has."""
        statement = "SELECT id FROM entries WHERE id IN (SELECT value FROM json_each(?))"
        rows = self._connection.execute(statement, (json.dumps(list(ids)),))
        return {item_id for (item_id,) in rows}

    def rejected(self) -> Iterator[Rejection]:
        """Yield what the source itself set aside, in its order."""
        rows = self._connection.execute("SELECT place, code, reason FROM rejected ORDER BY rowid")
        for row in rows:
            yield Rejection(*row)

    def rejected_count(self) -> int:
        """Return how many inputs the source itself set aside."""
        return int(self._connection.execute("SELECT count(*) FROM rejected").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _columns(entry: ImageEntry | CaptionEntry) -> tuple[str | int | None, ...]:
    metadata = json.dumps(entry.metadata, ensure_ascii=False)
    if isinstance(entry, ImageEntry):
        offset, size = entry.span or (None, None)
        picture = (entry.path or None, offset, size)
        return entry.id, *picture, None, None, None, metadata, entry.has_own_id, ""
    caption = (entry.text, entry.image_id, entry.image_path)
    return entry.id, None, None, None, *caption, metadata, entry.has_own_id, entry.origin


def _columns_of(entry: ListedEntry) -> tuple[str | int | None, ...]:
    metadata = json.dumps(entry.metadata, ensure_ascii=False)
    offset, size = entry.span or (None, None)
    return (
        entry.id, entry.path, offset, size, entry.caption, entry.image_id, entry.image_path,
        metadata, entry.has_own_id, entry.origin,
    )  # fmt: skip


def _as_entry(row: tuple[Any, ...]) -> ListedEntry:
    place, item_id, path, offset, size, caption, image_id, image_path, metadata, is_own, origin = (
        row
    )
    span = None if offset is None else Span(offset, size)
    return ListedEntry(
        place,
        item_id,
        path,
        span,
        caption,
        image_id,
        image_path,
        json.loads(metadata),
        bool(is_own),
        origin,
    )


def _refuse_duplicates(connection: sqlite3.Connection, description: str) -> None:
    # Kept in the file only while it is asked; the sorted list is SQLite's, not Python's.
    connection.execute("CREATE INDEX ids ON entries (id)")
    connection.execute(
        "CREATE TEMP TABLE twice AS SELECT id, count(*) AS found, min(place) AS first FROM entries "
        "GROUP BY id HAVING found > 1"
    )
    problems = Problems(description)
    (count,) = connection.execute("SELECT count(*) FROM twice").fetchone()
    shown = connection.execute(
        "SELECT id, found FROM twice ORDER BY first LIMIT ?", (SHOWN_PROBLEM_COUNT,)
    ).fetchall()
    for item_id, found in shown:
        places = connection.execute(
            "SELECT place + 1 FROM entries WHERE id = ? ORDER BY place LIMIT ?",
            (item_id, _SHOWN_PLACE_COUNT),
        )
        listed = ", ".join(f"{place:,}" for (place,) in places)
        more = ", ..." if found > _SHOWN_PLACE_COUNT else ""
        problems.add(f"id {item_id!r} stands {found:,} times, as items {listed}{more}")
    problems.count_more(count - len(shown))
    problems.refuse()
