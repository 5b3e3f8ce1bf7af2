"""Which rows a search may find, in the forms that those who search want."""

from functools import cached_property
from typing import Any

import faiss
import numpy as np

from index_builder.vector_index.base import AllowedRows, RowNumbers
from model.errors import GalleryIndexError

__all__ = ["RowMask"]


class RowMask:
    """The allowed rows of one search.

    Args:
        allowed: (row,), False where a row must not be found.
        row_count: Rows of the index.

    Raises:
        GalleryIndexError: The mask is of another length.
    """

    def __init__(self, allowed: AllowedRows, row_count: int) -> None:
        if allowed.shape != (row_count,) or allowed.dtype != np.bool_:
            raise GalleryIndexError(
                f"the mask of allowed rows is {allowed.dtype} of shape {allowed.shape} but the "
                f"gallery has {row_count} rows; give one bool for each row"
            )
        self.allowed = allowed
        self.count = int(np.count_nonzero(allowed))

    @cached_property
    def rows(self) -> RowNumbers:
        """The numbers of the allowed rows, ascending."""
        return np.flatnonzero(self.allowed)

    @cached_property
    def selector(self) -> Any:
        """The mask for FAISS, one bit a row; lives as long as this object."""
        return faiss.IDSelectorBitmap(np.packbits(self.allowed, bitorder="little"))
