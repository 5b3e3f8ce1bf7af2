"""Tune the search of a vector index, measure it, and say so for the manifest."""

from pathlib import Path

from index_builder.galleries.manifest import IndexRecord
from index_builder.vector_index.base import AllowedRows, VectorIndex
from index_builder.vector_index.latency import measure_latency
from index_builder.vector_index.queries import TuningQueries, midpoints, query_count_for
from index_builder.vector_index.recall import recall_at_10
from index_builder.vector_index.reranked import RerankedIndex
from index_builder.vector_index.tuning import tune
from model.console import warn

__all__ = ["tuned_record"]


def tuned_record(
    index: VectorIndex,
    path: Path,
    *,
    factory: str,
    target_recall: float,
    queries: TuningQueries | None,
    live: AllowedRows | None = None,
) -> IndexRecord:
    """Set the search parameters of an index and return what is measured with them.

    Args:
        index: Is changed.
        path: Its `index.faiss`.
        factory: What the index is, as a FAISS factory string.
        target_recall: recall@10 to reach.
        queries: What to tune and measure with; None takes points between rows.
        live: (row,), False where an item was removed; None where none was.
    """
    if queries is None:
        queries = midpoints(index.vectors, query_count_for(index.kind), live)
    if isinstance(index, RerankedIndex):
        recall = tune(index, queries.rows, target_recall, live)
        if recall < target_recall:
            warn(
                f"the index {factory} finds {recall:.3f} of the ten nearest rows, not the "
                f"{target_recall} asked for; choose --kind exact, or another --factory"
            )
    else:
        recall = recall_at_10(index, queries.rows, live)
    return IndexRecord(
        kind=index.kind,
        factory=factory,
        search_parameters=dict(index.search_parameters),
        target_recall=target_recall,
        recall_at_10=recall,
        recall_query_count=len(queries.rows),
        query_source=queries.source,
        latency=measure_latency(index, queries.rows, live),
        size_bytes=path.stat().st_size,
    )
