"""The recall of a vector index, measured again and compared with its manifest."""

import numpy as np

from index_builder.vector_index import Rows, recall_at_10
from index_builder.vector_index.queries import MIDPOINTS, midpoints
from index_builder.verification.findings import Check
from index_builder.verification.opened import OpenedGallery

__all__ = ["check_recall"]

_TOLERANCE = 0.01
_STANDARD_ERRORS = 3
_OF_OTHER_QUERIES = 0.1


def check_recall(opened: OpenedGallery, other: OpenedGallery | None, check: Check) -> None:
    """Measure recall@10 with such queries as the manifest names.

    Points between rows are the same as when the index was built. Vectors of the other gallery are
    as many, but may be others: of the same gallery, so a difference that such a draw makes is
    allowed, or of another gallery that was built or changed since. So a recall that is lower by
    less than a tenth is a note.
    """
    record = opened.gallery.manifest.index
    queries = _queries(opened, other)
    if queries is None:
        check.notes.append(
            f"measured with {record.query_source} when it was built, which this version has not"
        )
        return
    recall = recall_at_10(opened.index, queries, opened.gallery.live)
    check.looked_at = f"{recall:.3f}, manifest {record.recall_at_10:.3f}, {len(queries)} queries"
    allowed = _TOLERANCE
    if record.query_source != MIDPOINTS:
        variance = record.recall_at_10 * (1 - record.recall_at_10) / len(queries)
        allowed += _STANDARD_ERRORS * float(np.sqrt(2 * variance))
    missing = record.recall_at_10 - recall
    if missing <= allowed:
        return
    told = f"recall@10 is {recall:.3f} but manifest.json says {record.recall_at_10:.3f}"
    if record.query_source != MIDPOINTS and missing <= _OF_OTHER_QUERIES:
        check.notes.append(f"{told}, measured with {record.query_source} as it was then")
    else:
        check.problems.append(f"{opened.place}: {told}; {opened.advice}")


def _queries(opened: OpenedGallery, other: OpenedGallery | None) -> Rows | None:
    record = opened.gallery.manifest.index
    if record.query_source == MIDPOINTS:
        count = record.recall_query_count
        return midpoints(opened.index.vectors, count, opened.gallery.live).rows
    return None if other is None else other.gallery.sample_vectors(record.recall_query_count)
