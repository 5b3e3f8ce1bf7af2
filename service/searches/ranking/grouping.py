"""Grouping: several captions of one image become one hit, and an image is shown with its captions.

`image_id` is what groups, whether the image lies in this index or not; a caption without one stands
for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.vector_index import RowNumbers, Rows

__all__ = ["SHOWN_CAPTIONS", "ScoredRow", "best_of_each", "first_of_each"]

# Captions that are shown beside a hit.
SHOWN_CAPTIONS = 10


@dataclass(frozen=True)
class ScoredRow:
    """A row of a gallery and the cosine of the query with it."""

    row: int
    score: float


def first_of_each(image_ids: Sequence[str | None]) -> npt.NDArray[np.int64]:
    """Return the places, ascending, where an image comes for the first time.

    Args:
        image_ids: The image of each candidate, best first; every None stands for itself.
    """
    seen: set[str] = set()
    places = []
    for place, image_id in enumerate(image_ids):
        if image_id is None:
            places.append(place)
        elif image_id not in seen:
            seen.add(image_id)
            places.append(place)
    return np.array(places, dtype=np.int64)


def best_of_each(
    image_ids: Sequence[str],
    rows: RowNumbers,
    scores: Rows,
    *,
    wanted_count: int = SHOWN_CAPTIONS,
) -> dict[str, list[ScoredRow]]:
    """Return the best captions of each image, best first, ties by row.

    Args:
        image_ids: The image of each caption.
        rows: (caption,), in the captions gallery.
        scores: (caption,), float32.
        wanted_count: At most so many of one image.
    """
    best: dict[str, list[ScoredRow]] = {}
    for place in np.lexsort((rows, -scores)):
        of_image = best.setdefault(image_ids[place], [])
        if len(of_image) < wanted_count:
            of_image.append(ScoredRow(int(rows[place]), float(scores[place])))
    return best
