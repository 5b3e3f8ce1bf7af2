"""Which kind of index: from the number of vectors, their size, the memory and the recall asked for.

    recall 1               exact     nothing else promises it
    small                  exact     up to 2^27 numbers (131,072 rows of 1024) a query takes tens of
                                     milliseconds, and there is nothing to tune
    the graph fits         hnsw      float16 vectors and 64 links a row: fast at high recall
    else                   ivf       one byte a number, a few lists of rows a query
    even that does not     refused   with the memory that would do

The memory is what the index may take while it is built and while it is searched, apart from Python,
its libraries and the network. Searching an exact index reads all of it, so all of it should stay in
memory. Building the others holds the index, and copies parts of it as it grows: at most twice its
size. `embeddings.f16` is mapped and read a few rows at a time; it need not stay in memory.
"""

import math
from dataclasses import dataclass
from typing import Any

import faiss

from index_builder.galleries.manifest import IndexKind, NamedKind
from index_builder.vector_index.faiss_files import empty_index
from index_builder.vector_index.ivf import list_count_for
from index_builder.vector_index.opening import searcher_for
from model.errors import ConfigError
from model.memory import total_bytes

__all__ = [
    "IndexRequest",
    "choose_kind",
    "factory_for",
    "needed_bytes",
    "training_row_count",
]

_LINKS = 32
_EXACT_NUMBERS = 1 << 27
# Blocks of rows on their way, scores, centroids.
_WORKING_BYTES = 1 << 29
_GROWTH = 2
_TRAINING_ROWS_A_LIST = 64


@dataclass(frozen=True)
class IndexRequest:
    """What is asked of a gallery's vector index.

    Attributes:
        kind: Of index; None chooses one.
        recall: recall@10 against exact search that search parameters are tuned to.
        memory_bytes: What the index may take; None means half of the machine or container.
        factory: FAISS factory string of an expert, instead of a kind.
    """

    kind: NamedKind | None = None
    recall: float = 0.95
    memory_bytes: int | None = None
    factory: str | None = None

    @property
    def memory(self) -> int:
        """Bytes that the index may take."""
        return _half_of_what_there_is() if self.memory_bytes is None else self.memory_bytes

    def kind_for(self, count: int, dim: int) -> IndexKind:
        """Return the kind to build for vectors (count, dim).

        Raises:
            ConfigError: The memory is not enough, the factory string cannot be used, or both it
                and a kind are given.
        """
        if self.factory is None:
            if self.kind is None:
                return choose_kind(count, dim, memory_bytes=self.memory, recall=self.recall)
            _check_memory(self.kind, count, dim, self.memory)
            return self.kind
        if self.kind is not None:
            raise ConfigError(
                [f"kind = {self.kind!r}, factory = {self.factory!r}: give one of the two"]
            )
        index = empty_index(self.factory, dim)
        searcher_for(index)
        _check_memory_of(index, self.factory, count, self.memory)
        return "factory"


def choose_kind(count: int, dim: int, *, memory_bytes: int, recall: float) -> IndexKind:
    """Return the kind for vectors (count, dim); the rules stand at the top of this file.

    Raises:
        ConfigError: No kind that promises the recall fits into the memory.
    """
    if recall >= 1 or count * dim <= _EXACT_NUMBERS:
        _check_memory("exact", count, dim, memory_bytes)
        return "exact"
    if needed_bytes("hnsw", count, dim) <= memory_bytes:
        return "hnsw"
    _check_memory("ivf", count, dim, memory_bytes)
    return "ivf"


def factory_for(kind: IndexKind, count: int) -> str:
    """Return the FAISS factory string of a kind."""
    if kind == "exact":
        return "Flat"
    if kind == "hnsw":
        return f"HNSW{_LINKS},SQfp16"
    return f"IVF{list_count_for(count)},SQ8"


def needed_bytes(kind: IndexKind, count: int, dim: int) -> int:
    """Return the memory that building and searching take, about and rather more."""
    if kind == "exact":
        return count * dim * 4 + _WORKING_BYTES
    if kind == "hnsw":
        return _GROWTH * count * (2 * dim + _graph_bytes(_LINKS)) + _WORKING_BYTES
    lists = list_count_for(count)
    training = 2 * 4 * dim * lists * _TRAINING_ROWS_A_LIST
    return max(_GROWTH * count * (dim + 8), training) + 4 * dim * lists + _WORKING_BYTES


def _check_memory_of(index: Any, name: str, count: int, memory_bytes: int) -> None:
    needed = _GROWTH * count * _row_bytes(index) + _WORKING_BYTES
    if needed > memory_bytes:
        raise ConfigError(
            [f"memory = {_gib(memory_bytes)}: {name} for {count:,} vectors takes about "
             f"{_gib(needed)}; give --memory {_gib(needed)} or more, or shorter codes"]
        )  # fmt: skip


def training_row_count(count: int, list_count: int) -> int:
    """Return how many rows an index with so many lists is trained on."""
    return min(count, max(65_536, list_count * _TRAINING_ROWS_A_LIST))


def _row_bytes(index: Any) -> int:
    inner = faiss.downcast_index(index)
    if isinstance(inner, faiss.IndexPreTransform):
        return _row_bytes(inner.index)
    if isinstance(inner, faiss.IndexHNSW):
        return _row_bytes(inner.storage) + _graph_bytes(inner.hnsw.nb_neighbors(0) // 2)
    return int(inner.code_size) + 8


def _graph_bytes(links: int) -> int:
    # 2 M links at the bottom, M at each level above, which one row in M reaches; 16 for the rest.
    return 4 * 2 * links + math.ceil(4 * links / (links - 1)) + 16


def _check_memory(kind: IndexKind, count: int, dim: int, memory_bytes: int) -> None:
    needed = needed_bytes(kind, count, dim)
    if needed > memory_bytes:
        raise ConfigError(
            [f"memory = {_gib(memory_bytes)}: the kind {kind} for {count:,} vectors of {dim} "
             f"numbers takes about {_gib(needed)}; give --memory {_gib(needed)} or more"
             + ("" if kind == "ivf" else ", or --kind ivf")]
        )  # fmt: skip


def _gib(size_bytes: int) -> str:
    return f"{math.ceil(size_bytes / 2**30 * 10) / 10:.1f}GiB"


def _half_of_what_there_is() -> int:
    total = total_bytes()
    if total is None:
        raise ConfigError(["memory: this system does not say how much it has; give --memory 8GiB"])
    return total // 2
