"""From the candidates of one query to one page of hits: group, fold, cut.

    candidates -> (fuse) -> group -> fold -> page

What is asked for changes only where the list of hits is cut, never the list: a page is a slice of
it, and the slices put together are the whole. The list ends where the candidates do: at most 1,000
of them are grouped and folded.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from index_builder.galleries.gallery import MAX_HIT_COUNT
from index_builder.vector_index import RowNumbers, Rows
from service.searches.ranking.candidates import Candidates
from service.searches.ranking.folding import Kept, fold
from service.searches.ranking.grouping import first_of_each

__all__ = ["ArrangedHit", "ArrangedPage", "Duplicate", "arrange", "offset_after"]


@dataclass(frozen=True)
class Duplicate:
    """A candidate that was folded into a hit.

    Attributes:
        row: Its row in the gallery.
        score: Cosine of the query with it.
        similarity: Cosine of the hit with it.
    """

    row: int
    score: float
    similarity: float


@dataclass(frozen=True)
class ArrangedHit:
    """One hit of a page.

    Attributes:
        row: Its row in the gallery.
        score: Cosine of the query with it.
        rank: Among the hits that were kept, from 1.
        duplicates: What was folded into it, by rank; None where nothing is folded.
    """

    row: int
    score: float
    rank: int
    duplicates: tuple[Duplicate, ...] | None


@dataclass(frozen=True)
class ArrangedPage:
    """The hits of a page by rank, and where the next page begins; None if nothing follows."""

    hits: list[ArrangedHit]
    next_offset: int | None


def arrange(
    candidates: Candidates,
    *,
    limit: int,
    offset: int,
    image_ids_of: Callable[[RowNumbers], Sequence[str | None]] | None = None,
    fold_above: float | None = None,
    vectors_of: Callable[[RowNumbers], Rows],
) -> ArrangedPage:
    """Return the hits of ranks `offset + 1` to `offset + limit`.

    Args:
        candidates: All that are looked at, the same for every page.
        limit: At least 1.
        offset: At least 0, `limit + offset <= 1000`.
        image_ids_of: Returns the image that each row belongs to, or None; the first candidate of
            each image stays. None: nothing is grouped.
        fold_above: Cosine from which on a candidate is folded into an earlier one; None: none is.
        vectors_of: Returns (row, dim), the stored vectors.
    """
    if image_ids_of is not None:
        candidates = candidates.only(first_of_each(image_ids_of(candidates.rows)))
    if fold_above is None:
        kept = [Kept(place, ()) for place in range(min(len(candidates), offset + limit + 1))]
    else:
        # One hit more than the page holds tells whether another page follows.
        vectors = vectors_of(candidates.rows)
        kept = fold(vectors, bound=fold_above, wanted_count=offset + limit + 1)

    def duplicates_of(one: Kept) -> tuple[Duplicate, ...]:
        places = np.array([folded.place for folded in one.duplicates], dtype=np.int64)
        others = candidates.only(places)
        return tuple(
            Duplicate(int(row), float(score), folded.similarity)
            for row, score, folded in zip(others.rows, others.scores, one.duplicates, strict=True)
        )

    hits = [
        ArrangedHit(
            row=int(candidates.rows[one.place]),
            score=float(candidates.scores[one.place]),
            rank=rank,
            duplicates=None if fold_above is None else duplicates_of(one),
        )
        for rank, one in enumerate(kept[offset : offset + limit], offset + 1)
    ]
    return ArrangedPage(hits, offset_after(limit=limit, offset=offset, hit_count=len(kept)))


def offset_after(*, limit: int, offset: int, hit_count: int) -> int | None:
    """Return where the page behind this one begins; None if there is none, or it lies too deep.

    Args:
        limit: Hits of a page.
        offset: Hits before this page.
        hit_count: Hits in all; those behind the next one need not be counted.
    """
    following = offset + limit
    return following if following < min(hit_count, MAX_HIT_COUNT - limit + 1) else None
