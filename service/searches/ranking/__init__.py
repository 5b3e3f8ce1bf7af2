"""How candidates become a page: fusion of rankings, grouping, folding, and the slice asked for.

Pure functions over rows and scores; what they must look up is passed in. Read `arrangement.py`.
"""

from service.searches.ranking.arrangement import (
    ArrangedHit,
    ArrangedPage,
    Duplicate,
    arrange,
    offset_after,
)
from service.searches.ranking.candidates import CANDIDATE_COUNT, Candidates
from service.searches.ranking.fusion import RANK_OFFSET, distinct_rows, fuse
from service.searches.ranking.grouping import SHOWN_CAPTIONS, ScoredRow, best_of_each

__all__ = [
    "CANDIDATE_COUNT",
    "RANK_OFFSET",
    "SHOWN_CAPTIONS",
    "ArrangedHit",
    "ArrangedPage",
    "Candidates",
    "Duplicate",
    "ScoredRow",
    "arrange",
    "best_of_each",
    "distinct_rows",
    "fuse",
    "offset_after",
]
