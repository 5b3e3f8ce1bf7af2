"""The same id twice is an error that lists them, found on disk, whatever the number of ids.

The ids go into a private temporary SQLite file (in the folder for temporary files) and are grouped
there, so memory is flat; SQLite sorts what is larger than its cache outside it.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing

from index_builder.sources.problems import SHOWN_PROBLEM_COUNT, Problems

__all__ = ["refuse_duplicates"]

_SHOWN_PLACE_COUNT = 5


def refuse_duplicates(description: str, ids: Iterable[str]) -> None:
    """Go on if no id stands twice.

    Args:
        description: What the source is called.
        ids: In the order of the source; read once, as a stream.

    Raises:
        DataError: Some do; the first ten are told with their places.
    """
    # An empty name: a file on disk that nobody else sees and that goes with the connection.
    with closing(sqlite3.connect("", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE ids (place INTEGER PRIMARY KEY, id TEXT NOT NULL)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO ids VALUES (?, ?)", enumerate(ids, 1))
        connection.execute(
            "CREATE TEMP TABLE twice AS SELECT id, count(*) AS found, min(place) AS first FROM ids "
            "GROUP BY id HAVING found > 1"
        )
        problems = Problems(description)
        (count,) = connection.execute("SELECT count(*) FROM twice").fetchone()
        shown = connection.execute(
            "SELECT id, found FROM twice ORDER BY first LIMIT ?", (SHOWN_PROBLEM_COUNT,)
        ).fetchall()
        for item_id, found in shown:
            places = connection.execute(
                "SELECT place FROM ids WHERE id = ? ORDER BY place LIMIT ?",
                (item_id, _SHOWN_PLACE_COUNT),
            )
            listed = ", ".join(f"{place:,}" for (place,) in places)
            more = ", ..." if found > _SHOWN_PLACE_COUNT else ""
            problems.add(f"id {item_id!r} stands {found:,} times, as items {listed}{more}")
        problems.count_more(count - len(shown))
    problems.refuse()
