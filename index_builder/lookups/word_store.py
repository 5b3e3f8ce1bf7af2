"""Reading `words.sqlite`: the captions that have any word of a text, ranked by bm25.

    score(caption) = sum over the words w of the text that it has, of
        idf(w) * n * (K1 + 1) / (n + K1 * (1 - B + B * length / mean length))
        idf(w) = ln(1 + (captions - captions with w + 0.5) / (captions with w + 0.5))

n = how often w is in the caption, lengths in words. A word of the text counts once. Captions that
were removed count in `captions` until `items.sqlite` is written again; they are never found.

Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; K1 and
B are FTS5's, the idf is Lucene's, which is above 0 for every word.
"""

import math
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from index_builder.galleries.immutable_file import ImmutableFile
from index_builder.lookups.word_writing import ROWS_AT_ONCE
from index_builder.lookups.words import WordSplitter
from index_builder.vector_index import AllowedRows
from model.errors import GalleryIndexError

__all__ = ["MAX_WORDS", "WordHit", "WordStore"]

MAX_WORDS = 64

_K1, _B = 1.2, 0.75


class WordHit(NamedTuple):
    """A caption that has words of a text.

    Attributes:
        row: Its row.
        score: bm25, above 0; the higher the better.
    """

    row: int
    score: float


class _Word(NamedTuple):
    word: str
    caption_count: int
    start: int


class WordStore:
    """The words of a captions gallery; safe to use from several threads.

    Args:
        path: `words.sqlite`, which is not changed.
        row_count: Rows of the gallery, those of removed items included.
    """

    def __init__(self, path: Path, row_count: int) -> None:
        self._splitter = WordSplitter()
        self._file = ImmutableFile(path)
        try:
            ((self._caption_count, word_count),) = self._file.select(
                "SELECT caption_count, word_count FROM facts"
            )
            lengths = self._file.select("SELECT counts FROM lengths ORDER BY piece")
        except GalleryIndexError:
            self.close()
            raise
        counts = np.frombuffer(b"".join(piece for (piece,) in lengths), "<u2")
        mean = max(word_count, 1) / max(self._caption_count, 1)
        # The last rows may be gone from the items.
        self._penalties = np.ones(row_count, dtype=np.float32)
        self._penalties[: len(counts)] = _K1 * (1 - _B + _B * counts / mean)

    def matching(self, text: str, limit: int, allowed: AllowedRows | None) -> list[WordHit]:
        """Return the captions that have any word of a text, best first, ties by row.

        Args:
            text: Anything; of more than 64 different words that any caption has, the rarest count.
            limit: How many are wanted at most.
            allowed: (row,), False where a row must not be found.

        Raises:
            GalleryIndexError: The file is damaged.
        """
        scores = np.zeros(len(self._penalties))
        with self._file.reading() as connection:
            for word in self._known_words(connection, text):
                idf = math.log1p(
                    (self._caption_count - word.caption_count + 0.5) / (word.caption_count + 0.5)
                )
                for rows, counts in self._postings(connection, word):
                    often = counts.astype(np.float64)
                    scores[rows] += idf * often * (_K1 + 1) / (often + self._penalties[rows])
        if allowed is not None:
            scores[~allowed] = 0
        return _best(scores, limit)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._splitter.close()

    def _known_words(self, connection: sqlite3.Connection, text: str) -> list[_Word]:
        statement = "SELECT word, caption_count, start FROM words WHERE word = ?"
        found = [
            _Word(*known)
            for word in self._splitter.words(text)
            if (known := connection.execute(statement, (word,)).fetchone()) is not None
        ]
        return sorted(found, key=lambda word: (word.caption_count, word.word))[:MAX_WORDS]

    def _postings(
        self, connection: sqlite3.Connection, word: _Word
    ) -> Iterator[tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8]]]:
        """Yield rows that have a word, and how often each does."""
        start, stop = word.start, word.start + word.caption_count
        statement = (
            "SELECT piece, rows, counts FROM postings WHERE piece BETWEEN ? AND ? ORDER BY piece"
        )
        pieces = start // ROWS_AT_ONCE, (stop - 1) // ROWS_AT_ONCE
        for piece, rows, counts in connection.execute(statement, pieces):
            first = piece * ROWS_AT_ONCE
            here = slice(max(0, start - first), stop - first)
            yield np.frombuffer(rows, "<u4")[here], np.frombuffer(counts, np.uint8)[here]


def _best(scores: npt.NDArray[np.float64], limit: int) -> list[WordHit]:
    rows = np.flatnonzero(scores)
    if len(rows) > limit:
        found = scores[rows]
        least = np.partition(found, len(found) - limit)[len(found) - limit]
        rows = rows[found >= least]
    order = np.lexsort((rows, -scores[rows]))[:limit]
    return [WordHit(int(row), float(scores[row])) for row in rows[order]]
