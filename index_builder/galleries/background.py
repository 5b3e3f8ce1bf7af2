"""The background sample of a gallery: vectors that tell how close what belongs here lies together.

The file `background.npy` holds at most `MOST_ROWS` rows, ascending, each with its vector in
float16. They are of different owners (the picture that a caption names, else the content itself):
a query has no twin in the gallery either. Which rows are drawn depends on their numbers alone: the
same gallery gives the same bytes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index_builder.galleries.damaged import damaged
from index_builder.galleries.items import ItemStore
from index_builder.vector_index import AllowedRows, RowNumbers, Rows
from index_builder.vector_index.stored_rows import half_rows
from model.errors import GalleryIndexError

__all__ = [
    "BACKGROUND_FILE",
    "MOST_ROWS",
    "Background",
    "draw_background",
    "read_background",
    "write_background",
]

BACKGROUND_FILE = "background.npy"
MOST_ROWS = 1_000

_ROWS_AT_ONCE = 4_096
# Where few owners have many items, the sample stays small: a build must not read all of a gallery.
_MOST_LOOKED_AT = 100 * MOST_ROWS


@dataclass(frozen=True, eq=False)
class Background:
    """Some rows of a gallery, ascending, and their vectors.

    Attributes:
        rows: (row,).
        vectors: (row, dim), float32; what float16 keeps of unit vectors.
    """

    rows: RowNumbers
    vectors: Rows

    def without(self, removed: RowNumbers) -> "Background":
        """Return the sample without some rows."""
        is_kept = ~np.isin(self.rows, removed)
        return Background(self.rows[is_kept], self.vectors[is_kept])


def draw_background(folder: Path, dim: int, live: AllowedRows | None = None) -> Background:
    """Return the background sample of a gallery.

    Args:
        folder: Of the gallery; its `embeddings.f16` and `items.sqlite` are finished.
        dim: Size of a vector.
        live: (row,), False where an item was removed; None where none was.
    """
    vectors = half_rows(folder / "embeddings.f16", dim)
    live_rows = np.arange(vectors.shape[0]) if live is None else np.flatnonzero(live)
    items = ItemStore(folder / "items.sqlite")
    try:
        rows = _rows_of_different_owners(live_rows, items)
    finally:
        items.close()
    return Background(rows, vectors[rows].astype(np.float32))


def write_background(path: Path, background: Background) -> None:
    """Write a background sample; the caller syncs the file to the disk."""
    stored = np.empty(len(background.rows), dtype=_stored_as(background.vectors.shape[1]))
    stored["row"], stored["vector"] = background.rows, background.vectors
    with path.open("wb") as file:
        np.save(file, stored, allow_pickle=False)


def read_background(path: Path, dim: int, row_count: int) -> Background:
    """Return the background sample of a gallery with so many rows.

    Raises:
        GalleryIndexError: The file is missing, or holds something else.
    """
    try:
        stored = np.load(path, allow_pickle=False)
    except FileNotFoundError as error:
        raise damaged(f"{path} is missing") from error
    except (OSError, ValueError, EOFError) as error:
        raise damaged(f"{path} is damaged ({error})") from error
    if stored.dtype != _stored_as(dim) or stored.ndim != 1 or len(stored) > MOST_ROWS:
        raise damaged(
            f"{path} holds other things than at most {MOST_ROWS:,} rows with vectors of {dim} "
            "numbers"
        )
    rows = stored["row"].astype(np.int64)
    is_ascending = bool((np.diff(rows) > 0).all())
    if len(rows) and not (is_ascending and rows[0] >= 0 and rows[-1] < row_count):
        raise GalleryIndexError(
            f"{path} holds other things than ascending numbers of {row_count} rows; build the "
            "index again"
        )
    return Background(rows, stored["vector"].astype(np.float32))


def _rows_of_different_owners(live_rows: RowNumbers, items: ItemStore) -> RowNumbers:
    drawn = live_rows[np.argsort(_scattered(live_rows), kind="stable")][:_MOST_LOOKED_AT]
    found: dict[str, int] = {}
    for start in range(0, len(drawn), _ROWS_AT_ONCE):
        rows = drawn[start : start + _ROWS_AT_ONCE].tolist()
        owners = items.owners_of_rows(rows)
        for row in rows:
            found.setdefault(owners[row], row)
            if len(found) == MOST_ROWS:
                return np.sort(np.array(list(found.values()), dtype=np.int64))
    return np.sort(np.array(list(found.values()), dtype=np.int64))


def _scattered(rows: RowNumbers) -> npt.NDArray[np.uint64]:
    """Return a number for each row, in no order and the same everywhere (splitmix64)."""
    mixed = rows.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _stored_as(dim: int) -> np.dtype[np.void]:
    return np.dtype([("row", "<i8"), ("vector", "<f2", (dim,))])
