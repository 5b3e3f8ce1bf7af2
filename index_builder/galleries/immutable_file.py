"""A SQLite file that never changes, read by one thread at a time."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from index_builder.galleries.items import open_immutable
from model.errors import GalleryIndexError

__all__ = ["ImmutableFile"]


class ImmutableFile:
    """A connection of its own to a file of a gallery; safe to use from several threads.

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
        except (sqlite3.DatabaseError, IndexError) as error:
            raise GalleryIndexError(
                f"{self.path} cannot be read ({error}); build the index again"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self.connection.close()
