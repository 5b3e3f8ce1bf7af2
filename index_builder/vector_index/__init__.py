"""The vector index of a gallery: kinds behind one interface, chosen, built, tuned and opened.

Read `base.py` for what a search promises, `choice.py` for which kind is built when.
"""

from index_builder.vector_index.base import (
    AllowedRows,
    FoundRows,
    RowNumbers,
    Rows,
    StoredRows,
    VectorIndex,
    exact_scores,
)
from index_builder.vector_index.building import BuiltIndex, build_vector_index
from index_builder.vector_index.choice import IndexRequest, choose_kind
from index_builder.vector_index.exact import ExactIndex
from index_builder.vector_index.extending import extend_vector_index
from index_builder.vector_index.measuring import tuned_record
from index_builder.vector_index.opening import open_vector_index
from index_builder.vector_index.queries import FEWEST_QUERIES, TuningQueries, query_count_for
from index_builder.vector_index.recall import recall_at_10
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.stored_rows import RowFile

__all__ = [
    "FEWEST_QUERIES",
    "AllowedRows",
    "BuiltIndex",
    "ExactIndex",
    "FoundRows",
    "IndexRequest",
    "RowFile",
    "RowMask",
    "RowNumbers",
    "Rows",
    "StoredRows",
    "TuningQueries",
    "VectorIndex",
    "build_vector_index",
    "choose_kind",
    "exact_scores",
    "extend_vector_index",
    "open_vector_index",
    "query_count_for",
    "recall_at_10",
    "tuned_record",
]
