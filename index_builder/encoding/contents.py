"""Distinct contents in the order in which they first appear; each is a row of vectors.

Kept in a file, so that memory stays flat, and only as long as a build runs: the parts that it is
made from are what lasts.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Contents"]


class Contents:
    """Numbers contents, by their digest, from 0.

    Attributes:
        count: How many there are.
    """

    def __init__(self, path: Path) -> None:
        """Begin with none, in a new file at `path`."""
        path.unlink(missing_ok=True)
        self._path = path
        self.count = 0
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;"
            "CREATE TABLE contents (digest BLOB PRIMARY KEY, number INTEGER) WITHOUT ROWID; BEGIN"
        )

    def __contains__(self, digest: bytes) -> bool:
        """Return whether a content has a number."""
        return self._number(digest) is not None

    def add(self, digests: Iterable[bytes]) -> None:
        """Number the contents that are new, in their order."""
        for digest in digests:
            added = self._connection.execute(
                "INSERT OR IGNORE INTO contents VALUES (?, ?)", (digest, self.count)
            )
            self.count += added.rowcount

    def numbers(self, digests: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the numbers of contents that are all there."""
        return np.array([self._number(digest) for digest in digests], dtype=np.int64)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def remove(self) -> None:
        """Close the file and take it away."""
        self.close()
        self._path.unlink()

    def _number(self, digest: bytes) -> int | None:
        row = self._connection.execute(
            "SELECT number FROM contents WHERE digest = ?", (digest,)
        ).fetchone()
        return None if row is None else int(row[0])
