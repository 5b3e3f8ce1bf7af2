"""Filters of a gallery made into masks of rows; the last ones are kept."""

import threading
from collections import OrderedDict

from index_builder.galleries.manifest import Manifest
from index_builder.lookups.column_store import ColumnStore
from index_builder.lookups.filter_checks import FilterError, filter_problems
from index_builder.lookups.filters import And, Comparison, Filter, Or, positive
from index_builder.vector_index import AllowedRows, RowMask

__all__ = ["FilterMasks"]

_KEPT_BYTES = 64 << 20
_MOST_KEPT = 256
# A mask, its bits for FAISS, and the numbers of the rows where they are asked for.
_BYTES_A_ROW = 1 + 1 / 8 + 8


class FilterMasks:
    """Which rows of a gallery filters fit; safe to use from several threads.

    Args:
        columns: Of the gallery.
        manifest: Of the gallery.
        live: (row,), False where an item was removed; None where none was.
    """

    def __init__(self, columns: ColumnStore, manifest: Manifest, live: AllowedRows | None) -> None:
        self._columns = columns
        self._manifest = manifest
        self._live = live
        self._lock = threading.Lock()
        self._kept: OrderedDict[Comparison | And | Or, RowMask] = OrderedDict()
        fitting = int(_KEPT_BYTES / (_BYTES_A_ROW * manifest.row_count))
        self._most_kept = min(max(fitting, 1), _MOST_KEPT)

    def mask(self, wanted: Filter) -> RowMask:
        """Return the rows that a filter fits, those of removed items not among them.

        Raises:
            FilterError: The filter names what the gallery has not; tells all of it.
            GalleryIndexError: The columns cannot be read.
        """
        if problems := filter_problems(wanted, self._manifest.columns):
            raise FilterError(problems)
        key = positive(wanted)
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        allowed = self._columns.matching(key)
        if self._live is not None:
            allowed &= self._live
        mask = RowMask(allowed, self._manifest.row_count)
        with self._lock:
            # Who else asked for the same meanwhile shares one mask from now on.
            mask = self._kept.setdefault(key, mask)
            while len(self._kept) > self._most_kept:
                self._kept.popitem(last=False)
        return mask
