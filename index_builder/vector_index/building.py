"""Build the vector files of a gallery, tune the search, and measure it.

    exact            index.faiss = the float32 vectors, written block by block
    hnsw, ivf, ...   embeddings.f16 -> train on a sample -> add block by block -> write -> map
                     -> tune

The same vectors give the same bytes at the same number of threads; a graph only with one thread.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index_builder.galleries.manifest import IndexKind, IndexRecord
from index_builder.vector_index.base import AllowedRows, StoredRows, VectorIndex
from index_builder.vector_index.choice import (
    factory_for,
    training_row_count,
)
from index_builder.vector_index.exact import ExactIndex, write_exact
from index_builder.vector_index.faiss_files import (
    describe,
    empty_index,
    read_mapped,
    reason_of,
    write_index,
)
from index_builder.vector_index.gpu import has_faiss_gpu, train_on_gpu
from index_builder.vector_index.measuring import tuned_record
from index_builder.vector_index.opening import check_filter, searcher_for
from index_builder.vector_index.queries import TuningQueries
from index_builder.vector_index.stored_rows import blocks_of, sample_of, write_half_rows
from index_builder.vector_index.threads import use_threads
from model.errors import ConfigError

__all__ = ["BuiltIndex", "add_rows", "build_vector_index"]

_CONSTRUCTION_EFFORT = 80


@dataclass(frozen=True)
class BuiltIndex:
    """A vector index as it lies in its folder, and what the manifest says about it."""

    index: VectorIndex
    record: IndexRecord


def build_vector_index(
    kind: IndexKind,
    vectors: StoredRows,
    *,
    folder: Path,
    queries: TuningQueries | None = None,
    target_recall: float = 0.95,
    factory: str | None = None,
    live: AllowedRows | None = None,
) -> BuiltIndex:
    """Write `index.faiss` and `embeddings.f16` into a folder and return the index, opened.

    Args:
        kind: Of index.
        vectors: (row, dim), unit rows.
        folder: Where the two files are written; the caller syncs them to the disk.
        queries: What to tune and measure with; None takes points between rows.
        target_recall: recall@10 to reach.
        factory: FAISS factory string of the kind `factory`.
        live: (row,), False where a row is not to be found; None where every row is.

    Raises:
        ConfigError: The factory string stands for nothing that can be used.
        GalleryIndexError: A file cannot be written.
    """
    name = factory or factory_for(kind, int(vectors.shape[0]))
    halves = write_half_rows(vectors, folder / "embeddings.f16")
    path = folder / "index.faiss"
    index: VectorIndex
    if kind == "exact":
        write_exact(vectors, path)
        index = ExactIndex.load(path)
    else:
        _write_approximate(name, halves, path)
        mapped = read_mapped(path)
        index = searcher_for(mapped)(mapped, halves, kind)
    record = tuned_record(
        index, path, factory=name, target_recall=target_recall, queries=queries, live=live
    )
    return BuiltIndex(index, record)


def _write_approximate(name: str, vectors: StoredRows, path: Path) -> None:
    index = empty_index(name, int(vectors.shape[1]))
    searcher_for(index)
    use_threads()
    _train(index, vectors)
    check_filter(index, name, vectors)
    add_rows(index, vectors)
    write_index(index, path)


def add_rows(index: Any, vectors: StoredRows) -> None:
    """Add vectors to a trained FAISS index, block by block."""
    for _, block in blocks_of(vectors):
        index.add(np.ascontiguousarray(block, dtype=np.float32))


def _train(index: Any, vectors: StoredRows) -> None:
    lists = faiss.try_extract_index_ivf(index)
    if isinstance(index, faiss.IndexHNSW):
        index.hnsw.efConstruction = _CONSTRUCTION_EFFORT
    if index.is_trained:
        return
    row_count = training_row_count(int(vectors.shape[0]), 1 if lists is None else lists.nlist)
    try:
        sample = sample_of(vectors, row_count)
        if lists is not None and has_faiss_gpu():  # pragma: no cover
            train_on_gpu(index, sample)
        else:
            index.train(sample)
    except RuntimeError as error:
        raise ConfigError(
            [f"factory = {describe(index)!r}: FAISS cannot train it on {row_count:,} vectors: "
             f"{reason_of(error)}"]
        ) from error  # fmt: skip
