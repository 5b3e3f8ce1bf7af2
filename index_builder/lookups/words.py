"""What a word is, for full text: SQLite's FTS5 takes texts apart, captions and queries alike.

Letters, digits and marks are kept together (`unicode61`), case and diacritics do not count, and
English endings are cut off (`porter`): `Dogs` and `dog` are one word, `Café` and `cafe` too. A text
is data to the tokenizer and never a query in a language, so there is no text that it refuses.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import groupby

__all__ = ["WordSplitter", "counted_words"]

_SCHEMA = """
PRAGMA journal_mode=OFF;
PRAGMA synchronous=OFF;
CREATE VIRTUAL TABLE texts USING fts5(
    text, content='',
    tokenize="porter unicode61 remove_diacritics 2 categories 'L* N* Co M*'"
);
CREATE VIRTUAL TABLE words USING fts5vocab(texts, instance);
BEGIN;
"""
_INSERT = "INSERT INTO texts (rowid, text) VALUES (?, ?)"


def counted_words(
    texts: Iterable[tuple[int, str]],
) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """Yield every word of many texts in order, with the rows that have it and how often.

    Args:
        texts: Row and text; they are kept in a temporary file meanwhile.
    """
    connection = _connection("")
    try:
        connection.executemany(_INSERT, texts)
        found = connection.execute("SELECT term, doc FROM words")
        for word, same in groupby(found, key=lambda pair: pair[0]):
            yield word, [(row, sum(1 for _ in each)) for row, each in groupby(r for _, r in same)]
    finally:
        connection.close()


class WordSplitter:
    """Takes one text apart at a time; for one thread at a time."""

    def __init__(self) -> None:
        """Open a database in memory."""
        self._connection = _connection(":memory:")

    def words(self, text: str) -> list[str]:
        """Return the different words of a text, in order; of any text, none if it has none."""
        whole = text.encode("utf-8", "replace").decode()
        self._connection.execute(_INSERT, (1, whole))
        found = self._connection.execute("SELECT DISTINCT term FROM words ORDER BY term").fetchall()
        self._connection.execute("INSERT INTO texts (texts) VALUES ('delete-all')")
        return [word for (word,) in found]

    def close(self) -> None:
        """Give the memory back."""
        self._connection.close()


def _connection(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.executescript(_SCHEMA)
    return connection
