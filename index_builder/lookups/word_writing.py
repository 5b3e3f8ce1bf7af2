"""Writing `words.sqlite`: which captions have which words, for full text.

    facts       how many captions there are, and how many words in all of them
    words       every word, in how many captions it is, and the place of the first of them
    postings    rows, uint32, and how often the word is in each, uint8, ROWS_AT_ONCE in a piece
    lengths     how many words the caption of each row has, uint16, ROWS_AT_ONCE in a piece

All numbers are little-endian. Why this and not a table of FTS5: ranking by that looks at each
caption by itself, some microseconds each, which are seconds where a word is in a million of them;
here it is a few sums of arrays.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from index_builder.galleries.items import ItemStore
from index_builder.lookups.words import counted_words

__all__ = ["ROWS_AT_ONCE", "write_words"]

ROWS_AT_ONCE = 8192

_SCHEMA = """
CREATE TABLE facts (caption_count INTEGER NOT NULL, word_count INTEGER NOT NULL);
CREATE TABLE words (
    word TEXT PRIMARY KEY,
    caption_count INTEGER NOT NULL,
    start INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE postings (piece INTEGER PRIMARY KEY, rows BLOB NOT NULL, counts BLOB NOT NULL);
CREATE TABLE lengths (piece INTEGER PRIMARY KEY, counts BLOB NOT NULL);
"""


def write_words(path: Path, items: ItemStore) -> None:
    """Write a new `words.sqlite`; the caller syncs it to the disk.

    The same captions give the same bytes.

    Args:
        path: Of the file.
        items: All that `items.sqlite` holds.
    """
    caption_count = 0

    def captions() -> Iterator[tuple[int, str]]:
        nonlocal caption_count
        for row, caption in items.captions():
            caption_count += 1
            yield row, caption

    lengths = np.zeros(items.end(), dtype=np.int64)
    file = sqlite3.connect(path, isolation_level=None)
    try:
        file.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; {_SCHEMA} BEGIN")
        postings = _Postings(file)
        for word, found in counted_words(captions()):
            file.execute("INSERT INTO words VALUES (?, ?, ?)", (word, len(found), postings.count))
            rows, counts = np.array(found, dtype=np.int64).T
            lengths[rows] += counts
            postings.add(rows, counts)
        postings.finish()
        file.executemany("INSERT INTO lengths VALUES (?, ?)", _pieces(lengths))
        file.execute("INSERT INTO facts VALUES (?, ?)", (caption_count, int(lengths.sum())))
        file.execute("COMMIT")
    finally:
        file.close()


class _Postings:
    """Cuts what is appended into pieces of one size."""

    def __init__(self, file: sqlite3.Connection) -> None:
        self.count = 0
        self._file = file
        self._piece = 0
        self._waiting = np.empty((2, 0), dtype=np.int64)  # rows, counts

    def add(self, rows: np.ndarray, counts: np.ndarray) -> None:
        """Append the rows of the next word."""
        self.count += len(rows)
        self._waiting = np.concatenate([self._waiting, np.stack([rows, counts])], axis=1)
        while self._waiting.shape[1] >= ROWS_AT_ONCE:
            self._write(self._waiting[:, :ROWS_AT_ONCE])
            self._waiting = self._waiting[:, ROWS_AT_ONCE:]

    def finish(self) -> None:
        """Write what is left."""
        if self._waiting.shape[1]:
            self._write(self._waiting)

    def _write(self, piece: np.ndarray) -> None:
        rows, counts = piece[0].astype("<u4"), piece[1].clip(max=255).astype(np.uint8)
        given = (self._piece, rows.tobytes(), counts.tobytes())
        self._file.execute("INSERT INTO postings VALUES (?, ?, ?)", given)
        self._piece += 1


def _pieces(lengths: np.ndarray) -> Iterator[tuple[int, bytes]]:
    cut = lengths.clip(max=np.iinfo(np.uint16).max).astype("<u2")
    for piece, start in enumerate(range(0, len(cut), ROWS_AT_ONCE)):
        yield piece, cut[start : start + ROWS_AT_ONCE].tobytes()
