"""SQLite files of galleries, which never change once they are in their place.

So readers open them `immutable`: no locks, no journal, no look at the folder.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from index_builder.galleries.damaged import damaged

__all__ = ["ImmutableFile", "immutable_address", "open_immutable"]


def open_immutable(path: Path) -> sqlite3.Connection:
    """Return a read-only connection to a file that never changes; usable from any thread."""
    if not path.is_file():
        raise damaged(f"{path} is missing")
    return sqlite3.connect(immutable_address(path), uri=True, check_same_thread=False)


def immutable_address(path: Path) -> str:
    """Return the address by which SQLite opens or attaches a file that never changes."""
    return f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1"


class ImmutableFile:
    """A connection of its own to such a file; safe to use from several threads.

    Args:
        path: The file, which is not changed.

    Raises:
        GalleryIndexError: It is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = open_immutable(path)
        self._lock = threading.Lock()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield the connection to nobody else; what cannot be read is told.

        Raises:
            GalleryIndexError: The file is damaged.
        """
        try:
            with self._lock:
                yield self.connection
        # A damaged file that is a database all the same may hold numbers of rows that there are
        # not: an IndexError of whoever reads them.
        except (sqlite3.DatabaseError, IndexError) as error:
            raise damaged(f"{self.path} cannot be read ({error})") from error

    def select(self, statement: str, *values: str | int | None) -> list[tuple[Any, ...]]:
        """Return all that a statement finds.

        Raises:
            GalleryIndexError: The file is damaged.
        """
        with self.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
