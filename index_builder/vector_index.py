"""The vector index: FAISS flat inner product, made exact to the last bit.

- FAISS adds float32 products in an order of its own choosing, so its scores differ in the last
  digits with the batch size. Its best rows, a few more than asked, are scored again in float64:
  `score = float32(float64 dot product)`, ties by row. This is what brute force gives.
- A row that FAISS left out could still belong to the answer, when its score lies within the
  rounding of float32; then all rows within that bound are fetched by a range search.

Source: the bound is the textbook one for a dot product summed in any order, d * u * |x| * |y|
(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), u = 2^-24.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from model.console import warn
from model.errors import GalleryIndexError

__all__ = ["ExactIndex", "FoundRows", "Rows", "exact_scores"]

Rows = npt.NDArray[np.float32]

_UNIT_ROUNDOFF = 2.0**-24
_SPARE_COUNT = 8
_SCORED_AT_ONCE = 4096
_SMALL_WORK = 1 << 24


@dataclass(frozen=True)
class FoundRows:
    """The answer to one query: rows and their scores, best first, ties by row."""

    rows: npt.NDArray[np.int64]
    scores: Rows


class ExactIndex:
    """Every vector is compared with the query; the vectors are kept in float32."""

    kind = "exact"

    def __init__(self, index: Any) -> None:
        """Wrap a `faiss.IndexFlatIP`."""
        self._index = index
        self.dim = int(index.d)
        self.count = int(index.ntotal)
        self.vectors: Rows = np.asarray(_StoredVectors(index))
        self.search_parameters = {"blas_threshold": 4 * self.dim}
        # By default FAISS uses BLAS only from about 125 queries of 1024 numbers on. From 4 queries
        # on it is faster (measured at 1024-d: 8 queries x2.5, 32 queries x5); one query is not.
        faiss.cvar.distance_compute_blas_threshold = 4 * self.dim

    @classmethod
    def build(cls, blocks: Iterable[Rows], dim: int) -> "ExactIndex":
        """Return an index over the rows of all blocks, in their order."""
        index = faiss.IndexFlatIP(dim)
        if faiss.get_num_gpus() > 0:  # pragma: no cover - not run on a GPU yet
            return cls(_build_on_gpu(index, blocks))
        for block in blocks:
            index.add(np.ascontiguousarray(block, dtype=np.float32))
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "ExactIndex":
        """Return the index in the file at `path`.

        Raises:
            GalleryIndexError: The file is missing, damaged, or holds another kind of index.
        """
        if not path.is_file():
            raise GalleryIndexError(f"{path} is missing; build the index again")
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise GalleryIndexError(f"{path} cannot be read; build the index again") from error
        if type(index) is not faiss.IndexFlatIP:
            raise GalleryIndexError(
                f"{path} holds a faiss {type(index).__name__} but the manifest says exact "
                "(IndexFlatIP); build the index again"
            )
        return cls(index)

    def write(self, path: Path) -> None:
        """Write the index; the caller syncs it to the disk."""
        try:
            faiss.write_index(self._index, str(path))
        except RuntimeError as error:
            raise GalleryIndexError(f"cannot write {path}: is the disk full?") from error

    def search(self, queries: Rows, wanted_count: int) -> list[FoundRows]:
        """Return the best `wanted_count` rows (or all, if there are fewer) of each query.

        Args:
            queries: (query, dim), float32, finite; unit length is not required.
            wanted_count: At least 1.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        wanted_count = min(wanted_count, self.count)
        fetched_count = min(self.count, wanted_count + max(_SPARE_COUNT, wanted_count // 8))
        faiss.omp_set_num_threads(self._thread_count(len(queries)))
        rough_scores, rows = self._index.search(queries, fetched_count)
        found: list[FoundRows] = []
        for place, query in enumerate(queries):
            answer = self._best(query, rows[place], wanted_count)
            slack = (self.dim + 8) * _UNIT_ROUNDOFF * float(np.linalg.norm(query)) * 1.001
            threshold = float(answer.scores[-1]) - slack
            if fetched_count < self.count and rough_scores[place, -1] >= threshold:
                _, _, close_rows = self._index.range_search(query[None], threshold - slack)
                answer = self._best(query, close_rows, wanted_count)
            found.append(answer)
        return found

    def _best(self, query: Rows, rows: npt.NDArray[np.int64], count: int) -> FoundRows:
        scores = exact_scores(query, self.vectors, rows)
        order = np.lexsort((rows, -scores))[:count]
        return FoundRows(rows[order], scores[order])

    def _thread_count(self, query_count: int) -> int:
        # libgomp keeps the number per calling thread, so it is set before every search. Waking a
        # team costs more than a small search.
        if query_count * self.count * self.dim < _SMALL_WORK:
            return 1
        return _allowed_thread_count()


class _StoredVectors:
    """The vectors inside a FAISS index, uncopied and read-only; arrays of it keep it alive."""

    def __init__(self, index: Any) -> None:
        self._index = index
        count, dim = int(index.ntotal), int(index.d)
        address = faiss.rev_swig_ptr(index.get_xb(), count * dim).ctypes.data
        self.__array_interface__ = {
            "shape": (count, dim),
            "typestr": "<f4",
            "data": (address, True),
            "version": 3,
        }


def exact_scores(query: Rows, vectors: Rows, rows: npt.NDArray[np.int64]) -> Rows:
    """Return float32(float64 dot product) of the query with `vectors[rows]`.

    Equal vectors get equal scores whatever stands beside them: every row is summed on its own.
    """
    wide = query.astype(np.float64)
    scores = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _SCORED_AT_ONCE):
        part = slice(start, start + _SCORED_AT_ONCE)
        scores[part] = (vectors[rows[part]].astype(np.float64) * wide).sum(axis=1)
    return scores


def _allowed_thread_count() -> int:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _build_on_gpu(index: Any, blocks: Iterable[Rows]) -> Any:  # pragma: no cover
    # Not run on a GPU yet: written from the FAISS documentation.
    resources = faiss.StandardGpuResources()  # must outlive the index
    on_gpu = faiss.index_cpu_to_gpu(resources, 0, index)
    for block in blocks:
        on_gpu.add(np.ascontiguousarray(block, dtype=np.float32))
    warn("faiss built this index on a GPU, a path that was not tested on one")
    return faiss.index_gpu_to_cpu(on_gpu)
