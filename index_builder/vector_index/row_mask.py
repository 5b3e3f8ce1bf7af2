"""Which rows a search may find, in the forms that those who search want.

A mask that many searches share, such as that of the rows that were not removed, is made once: each
form costs a pass over all rows. Safe to use from several threads.
"""

import threading
from functools import cached_property
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from model.errors import GalleryIndexError

__all__ = ["AllowedRows", "RowMask", "RowNumbers"]

RowNumbers = npt.NDArray[np.int64]
AllowedRows = npt.NDArray[np.bool_]


class RowMask:
    """The allowed rows of one search, or of many.

    Args:
        allowed: (row,), False where a row must not be found; is not changed any more.
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
        self._selector: Any = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, allowed: "AllowedRows | RowMask | None", row_count: int) -> "RowMask | None":
        """Return the mask that a search was given, or one of the rows that it was given.

        Raises:
            GalleryIndexError: The mask is of another length.
        """
        if isinstance(allowed, RowMask):
            if len(allowed.allowed) == row_count:
                return allowed
            allowed = allowed.allowed
        return None if allowed is None else cls(allowed, row_count)

    @cached_property
    def rows(self) -> RowNumbers:
        """The numbers of the allowed rows, ascending."""
        return np.flatnonzero(self.allowed)

    @property
    def selector(self) -> Any:
        """The mask for FAISS, one bit a row; lives as long as this object."""
        # FAISS does not keep a selector alive: there must never be a second one.
        with self._lock:
            if self._selector is None:
                bits = np.packbits(self.allowed, bitorder="little")
                self._selector = faiss.IDSelectorBitmap(bits)
            return self._selector
