"""Does a query belong to what an index holds? Told from how close it lies to its own kind.

A caption is held against captions of the index and a picture against its pictures, never one
against the other: what does not belong lies far from its own kind, whatever is nearest among the
other.
Closeness is the mean cosine with the nearest vectors of the background sample. Each of these has a
closeness to the others too; a query fits unless it is less close than nearly all of them.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.background import Background
from index_builder.vector_index import Rows

__all__ = ["FEWEST_ROWS", "REFUSED_SHARE", "Calibration", "calibrate", "closeness"]

FEWEST_ROWS = 100
NEAREST_COUNT = 3
# Of queries that are like what is in the index, so many are told that nothing fits.
REFUSED_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Calibration:
    """What tells of queries of one kind whether they fit.

    Attributes:
        background: (row, dim), vectors of that kind, unit length.
        lowest: The least closeness that fits.
    """

    background: Rows
    lowest: float

    def fits(self, queries: Rows) -> npt.NDArray[np.bool_]:
        """Return (query,), False where nothing fits, of queries (query, dim) of unit length."""
        told: npt.NDArray[np.bool_] = closeness(queries, self.background) >= self.lowest
        return told


def calibrate(background: Background) -> Calibration | None:
    """Return the calibration of a background sample; None if it has fewer than 100 rows."""
    vectors = background.vectors
    if len(vectors) < FEWEST_ROWS:
        return None
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)  # nothing is its own neighbour
    lowest = float(np.quantile(_nearest_mean(cosines), REFUSED_SHARE))
    return Calibration(vectors, lowest)


def closeness(queries: Rows, background: Rows) -> npt.NDArray[np.float32]:
    """Return (query,), the mean cosine of each query with the nearest rows of a background."""
    return _nearest_mean(queries @ background.T)


def _nearest_mean(cosines: Rows) -> npt.NDArray[np.float32]:
    nearest = np.partition(cosines, -NEAREST_COUNT, axis=1)[:, -NEAREST_COUNT:]
    mean: npt.NDArray[np.float32] = nearest.mean(axis=1)
    return mean
