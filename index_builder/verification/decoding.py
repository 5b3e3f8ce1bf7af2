"""What a FAISS index says about its rows: the vectors that its codes stand for."""

from collections.abc import Iterator
from typing import Any

import faiss
import numpy as np

from index_builder.vector_index import RowNumbers, Rows
from model.errors import GalleryIndexError

__all__ = ["CannotDecodeError", "decoded_blocks"]

_ROWS_AT_ONCE = 4096
_DECODED = faiss.IndexIVFFlat | faiss.IndexIVFScalarQuantizer | faiss.IndexIVFPQ


class CannotDecodeError(GalleryIndexError):
    """FAISS cannot say which vectors these codes stand for."""


def decoded_blocks(index: Any) -> Iterator[tuple[RowNumbers, Rows]]:
    """Yield row numbers (row,) and the vectors (row, dim) that an index decodes for them.

    Rows come in the order of the file: for an inverted file list by list.

    Raises:
        CannotDecodeError: The kind of index has no decoder.
    """
    lists = faiss.try_extract_index_ivf(index)
    try:
        if lists is None:
            for start in range(0, index.ntotal, _ROWS_AT_ONCE):
                rows = np.arange(start, min(start + _ROWS_AT_ONCE, index.ntotal))
                yield rows, index.reconstruct_n(start, len(rows))
            return
        # Others may end the process: so does the fast-scan kind when it was read from a file.
        if not isinstance(faiss.downcast_index(lists), _DECODED):
            raise CannotDecodeError("FAISS cannot decode such codes in an inverted file")
        for number in range(lists.nlist):
            yield from _decoded_list(index, lists, number)
    except RuntimeError as error:
        raise CannotDecodeError(f"FAISS cannot decode its codes: {error}") from error


def _decoded_list(index: Any, lists: Any, number: int) -> Iterator[tuple[RowNumbers, Rows]]:
    size = lists.invlists.list_size(number)
    if not size:
        return
    rows = faiss.rev_swig_ptr(lists.invlists.get_ids(number), size)
    for start in range(0, size, _ROWS_AT_ONCE):
        some = rows[start : start + _ROWS_AT_ONCE].astype(np.int64)
        vectors = np.empty((len(some), lists.d), dtype=np.float32)
        for place, vector in enumerate(vectors, start):
            lists.reconstruct_from_offset(number, place, faiss.swig_ptr(vector))
        yield some, _turned_back(index, vectors)


def _turned_back(index: Any, vectors: Rows) -> Rows:
    """Undo the transforms in front of an inverted file."""
    if isinstance(index, faiss.IndexPreTransform):
        for place in reversed(range(index.chain.size())):
            transform = faiss.downcast_VectorTransform(index.chain.at(place))
            vectors = transform.reverse_transform(vectors)
    return vectors
