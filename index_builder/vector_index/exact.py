"""The exact kind: every vector is compared with the query; the vectors are kept in float32."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index_builder.galleries.damaged import damaged
from index_builder.vector_index.base import (
    AllowedRows,
    FoundRows,
    RowNumbers,
    Rows,
    StoredRows,
    VectorIndex,
)
from index_builder.vector_index.certified import certified_search
from index_builder.vector_index.faiss_files import read_mapped, write_index
from index_builder.vector_index.product import GatheredRows
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.stored_rows import blocks_of
from index_builder.vector_index.threads import BATCH_OF_A_PRODUCT, use_blas, use_threads

__all__ = ["ExactIndex", "write_exact"]


class ExactIndex(VectorIndex):
    """A FAISS flat index, made exact to the last bit."""

    def __init__(self, index: Any) -> None:
        """Wrap a `faiss.IndexFlatIP`."""
        self.kind = "exact"
        super().__init__(np.asarray(_StoredVectors(index)))
        self._index = index
        self._blas_threshold = use_blas(self.dim)

    @classmethod
    def load(cls, path: Path) -> "ExactIndex":
        """Return the index in the file at `path`, mapped into memory.

        Raises:
            GalleryIndexError: The file is missing, damaged, or holds another kind of index.
        """
        index = read_mapped(path)
        if type(index) is not faiss.IndexFlatIP:
            raise damaged(
                f"{path} holds a faiss {type(index).__name__} but the manifest says exact "
                "(IndexFlatIP)"
            )
        return cls(index)

    @property
    def search_parameters(self) -> Mapping[str, int]:
        """From how many numbers in a batch of queries on FAISS uses BLAS."""
        return {"blas_threshold": self._blas_threshold}

    def search(
        self, queries: Rows, wanted_count: int, *, allowed: AllowedRows | RowMask | None = None
    ) -> list[FoundRows]:
        """Return what brute force returns, whatever the batch size and the filter."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        mask = RowMask.of(allowed, self.count)
        row_count = self.count if mask is None else mask.count
        engine: _FlatRows | GatheredRows
        # With a filter FAISS never uses BLAS; a product in torch over the allowed rows is faster
        # then (measured at 100,000 x 1024: 8 queries x1.6 to x3, 64 queries x3 to x9).
        if mask is not None and len(queries) >= BATCH_OF_A_PRODUCT:
            engine = GatheredRows(self.vectors, mask.rows)
        else:
            use_threads(len(queries) * row_count * self.dim)
            engine = _FlatRows(self._index, mask)
        return certified_search(engine, self.vectors, queries, wanted_count, row_count)

    def write(self, path: Path) -> None:
        """Write the index; the caller syncs it to the disk."""
        write_index(self._index, path)


def write_exact(vectors: StoredRows, path: Path) -> None:
    """Write the file of an `ExactIndex` over these vectors, block by block.

    FAISS itself would first copy all of them into memory. The bytes are those that it writes: the
    head of an empty index, with the two counts in it set.
    """
    count, dim = (int(size) for size in vectors.shape)
    head = bytearray(faiss.serialize_index(faiss.IndexFlatIP(dim)).tobytes())
    struct.pack_into("<q", head, 8, count)  # after the type and the dimension
    struct.pack_into("<Q", head, len(head) - 8, count * dim)  # length of the vector that follows
    with path.open("wb") as file:
        file.write(head)
        for _, block in blocks_of(vectors):
            file.write(np.ascontiguousarray(block, dtype="<f4").tobytes())


class _FlatRows:
    """The rows of a FAISS flat index that a mask allows."""

    def __init__(self, index: Any, mask: RowMask | None) -> None:
        self._index = index
        self._mask = mask  # its selector must outlive the search
        self._parameters = None if mask is None else faiss.SearchParameters(sel=mask.selector)

    def best(self, queries: Rows, wanted_count: int) -> tuple[Rows, RowNumbers]:
        scores, rows = self._index.search(queries, wanted_count, params=self._parameters)
        return scores, rows

    def at_least(self, query: Rows, threshold: float) -> RowNumbers:
        _, _, rows = self._index.range_search(query[None], threshold, params=self._parameters)
        return np.asarray(rows, dtype=np.int64)


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
