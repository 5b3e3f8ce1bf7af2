"""Search and training on a GPU. **Nothing here has been run on a GPU**; tests run it on a CPU.

What is written is always a CPU index. Traps of FAISS's classic GPU indexes, and what is done:

- they are not safe for several threads: one thread owns the GPU and everybody's searches;
- they take a selector and do not apply it: a search with a filter stays on the CPU, and so
  does every search of a gallery with removed items;
- they find at most 2,048 rows and look at at most 2,048 lists: a larger search stays on the CPU.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import faiss
import numpy as np
import torch

from index_builder.galleries.manifest import IndexKind
from index_builder.vector_index.base import (
    AllowedRows,
    FoundRows,
    RowNumbers,
    Rows,
    StoredRows,
    VectorIndex,
)
from index_builder.vector_index.certified import certified_search
from index_builder.vector_index.exact import ExactIndex
from index_builder.vector_index.ivf import IvfIndex
from index_builder.vector_index.product import ResidentRows
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.stored_rows import blocks_of
from model.errors import GalleryIndexError

__all__ = ["IvfIndexOnGpu", "ResidentIndex", "copy_to_gpu", "has_faiss_gpu", "train_on_gpu"]

T = TypeVar("T")

_MOST_ON_GPU = 2048


class ResidentIndex(VectorIndex):
    """The exact kind with all vectors on a device of torch: a product in blocks, and a mask.

    Args:
        index: The index in its file; its float32 vectors decide as ever.
        device: cuda, cuda:N; cpu runs the same code.
        at_once: Rows compared at once; default: what 256 MB of scores for 64 queries allow.

    Raises:
        GalleryIndexError: The vectors do not fit on the device.
    """

    def __init__(self, index: ExactIndex, device: str, *, at_once: int | None = None) -> None:
        super().__init__(index.vectors)
        self.kind = "exact"
        self._index = index
        self._at_once = at_once
        self._owner = _OwnerThread()
        self._resident = self._owner.run(lambda: _copied(index.vectors, device))

    @property
    def search_parameters(self) -> Mapping[str, int]:
        """None: every row is compared."""
        return {}

    def search(
        self, queries: Rows, wanted_count: int, *, allowed: AllowedRows | RowMask | None = None
    ) -> list[FoundRows]:
        """Return what brute force returns, as the index on the CPU does."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        mask = RowMask.of(allowed, self.count)
        row_count = self.count if mask is None else mask.count

        def search() -> list[FoundRows]:
            engine = ResidentRows(self._resident, mask, at_once=self._at_once)
            return certified_search(engine, self.vectors, queries, wanted_count, row_count)

        return self._owner.run(search)

    def write(self, path: Path) -> None:
        """Write the index for a CPU; the caller syncs it to the disk."""
        self._index.write(path)


class IvfIndexOnGpu(IvfIndex):
    """Inverted lists with a copy on a GPU, which proposes candidates where its limits allow.

    Args:
        index: The FAISS index on the CPU.
        vectors: The float16 vectors.
        kind: What the manifest calls it.
        parameters: What to search with.
        on_gpu: The copy.
    """

    def __init__(
        self,
        index: Any,
        vectors: StoredRows,
        kind: IndexKind,
        parameters: Mapping[str, int] | None,
        *,
        on_gpu: Any,
    ) -> None:
        super().__init__(index, vectors, kind, parameters)
        self._on_gpu = on_gpu
        self._owner = _OwnerThread()

    def propose(
        self, queries: Rows, wanted_count: int, mask: RowMask | None, effort: int
    ) -> RowNumbers:
        """Return the best codes in the nearest lists, on the GPU where it can; see the base."""
        if mask is not None or max(wanted_count, effort) > _MOST_ON_GPU:
            return super().propose(queries, wanted_count, mask, effort)
        parameters = faiss.SearchParametersIVF(nprobe=min(effort, self.effort.largest))
        return self._owner.run(
            lambda: self._on_gpu.search(queries, wanted_count, params=parameters)[1]
        )


def has_faiss_gpu() -> bool:
    """Return whether FAISS was built for GPUs and sees one."""
    return bool(faiss.get_num_gpus() > 0)


def copy_to_gpu(index: Any) -> Any:  # pragma: no cover
    """Return a copy of a FAISS index on the first GPU."""
    resources = faiss.StandardGpuResources()
    copy = faiss.index_cpu_to_gpu(resources, 0, index)
    copy.resources = resources  # must outlive the copy
    return copy


def train_on_gpu(index: Any, sample: Rows) -> None:  # pragma: no cover
    """Train an IVF index whose centroids are found on a GPU; its rows stay on the CPU."""
    lists = faiss.extract_index_ivf(index)
    on_gpu = copy_to_gpu(faiss.IndexFlatIP(lists.d))  # FAISS does not own it
    lists.clustering_index = on_gpu
    index.train(sample)
    lists.clustering_index = None


class _OwnerThread:
    """One thread that does everything, in the order asked."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="gpu-owner")

    def run(self, work: Callable[[], T]) -> T:
        """Return what the work returns, done in the one thread."""
        return self._pool.submit(work).result()


def _copied(vectors: StoredRows, device: str) -> torch.Tensor:
    try:
        resident = torch.empty(tuple(vectors.shape), dtype=torch.float32, device=device)
    except torch.OutOfMemoryError as error:
        count, dim = vectors.shape
        raise GalleryIndexError(
            f"{count:,} vectors of {dim} numbers take {4 * count * dim / 1e9:.1f} GB and do not "
            f"fit on {device}; use --device cpu, or build with --kind ivf"
        ) from error
    for start, block in blocks_of(vectors):
        resident[start : start + len(block)] = torch.from_numpy(np.array(block))
    return resident
