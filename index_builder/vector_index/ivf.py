"""Inverted lists: rows lie in the list of their nearest centroid; the nearest lists are looked at.

As many lists are looked at as asked for, and more while they hold fewer rows than are wanted. With
a filter, lists that hold no allowed row are passed over and do not count, and more are looked at
until they hold as many allowed rows as so many lists hold rows on average: recall does not fall.
"""

from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import faiss
import numpy as np
import numpy.typing as npt

from index_builder.vector_index.base import RowNumbers, Rows
from index_builder.vector_index.reranked import Effort, RerankedIndex
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.threads import use_threads

__all__ = ["IvfIndex", "list_count_for"]

# What FAISS asks for to train a centroid without a warning.
_ROWS_A_LIST = 39


def list_count_for(count: int) -> int:
    """Return the number of lists: 4 sqrt(rows), each with enough rows to train on.

    Source: the FAISS guide to choosing an index, which says between 4 sqrt(n) and 16 sqrt(n).
    """
    return max(1, min(round(4 * count**0.5), count // _ROWS_A_LIST))


class IvfIndex(RerankedIndex):
    """A FAISS IVF index, possibly behind a transform of the vectors."""

    @cached_property
    def effort(self) -> Effort:
        """How many lists a search without a filter looks at."""
        return Effort("nprobe", 1, int(self._lists.nlist))

    @cached_property
    def _lists(self) -> Any:
        return faiss.extract_index_ivf(self.faiss_index)

    @cached_property
    def _list_sizes(self) -> RowNumbers:
        lists = self._lists.invlists
        sizes = [lists.list_size(number) for number in range(self._lists.nlist)]
        return np.array(sizes, dtype=np.int64)

    @cached_property
    def _list_of_row(self) -> npt.NDArray[np.int32]:
        lists = self._lists.invlists
        numbers = np.empty(self.count, dtype=np.int32)
        for number, size in enumerate(self._list_sizes.tolist()):
            if size:
                numbers[faiss.rev_swig_ptr(lists.get_ids(number), size)] = number
        return numbers

    @cached_property
    def _known_masks(self) -> WeakKeyDictionary[RowMask, RowNumbers]:
        # Most masks live for one search; that of the rows that were not removed stays.
        return WeakKeyDictionary()

    def _allowed_in_lists(self, mask: RowMask) -> RowNumbers:
        """Return (list,), how many allowed rows each holds; counted once for each mask."""
        counts = self._known_masks.get(mask)
        if counts is None:
            rows = self._list_of_row[mask.allowed]
            counts = np.bincount(rows, minlength=self.effort.largest)
            self._known_masks[mask] = counts
        return counts

    def _break_even_count(self, row_count: int) -> int:  # noqa: ARG002 - the same for few and for many
        # As many as a search without a filter looks at. benchmarks.index_kinds --filters: equal
        # times at about 2,000 allowed rows of 15,000 x 128 (this says 1,875), and at 5,000 of
        # 60,000 x 256 (3,673).
        return self._parameters[self.effort.name] * self.count // self.effort.largest

    def propose(
        self, queries: Rows, wanted_count: int, mask: RowMask | None, effort: int
    ) -> RowNumbers:
        """Return the best codes in the nearest lists that hold allowed rows; see the base."""
        turned = self._transformed(queries)
        effort = min(effort, self.effort.largest)
        rows_in_list, enough, list_count = self._list_sizes, wanted_count, effort
        if mask is not None:
            rows_in_list = self._allowed_in_lists(mask)
            enough = max(wanted_count, effort * self.count // self.effort.largest)
            list_count = min(self.effort.largest, 2 * effort * self.count // mask.count)
        use_threads(len(queries) * max(enough, self.effort.largest) * self.dim)
        while True:
            scores, lists = self._lists.quantizer.search(turned, list_count)
            held = rows_in_list[lists]
            is_full = (held.sum(axis=1) >= enough) & (np.count_nonzero(held, axis=1) >= effort)
            if is_full.all() or list_count == self.effort.largest:
                break
            list_count = min(self.effort.largest, 2 * list_count)
        rows_before = held.cumsum(axis=1) - held
        lists_before = (held > 0).cumsum(axis=1) - (held > 0)
        is_wanted = (held > 0) & ((lists_before < effort) | (rows_before < enough))
        lists[~is_wanted] = -1  # FAISS passes over them
        return self._search_lists(turned, wanted_count, lists, scores, mask)

    def _transformed(self, queries: Rows) -> Rows:
        if isinstance(self.faiss_index, faiss.IndexPreTransform):
            for place in range(self.faiss_index.chain.size()):
                transform = faiss.downcast_VectorTransform(self.faiss_index.chain.at(place))
                queries = transform.apply(queries)
        return np.ascontiguousarray(queries, dtype=np.float32)

    def _search_lists(
        self,
        queries: Rows,
        wanted_count: int,
        lists: RowNumbers,
        scores: Rows,
        mask: RowMask | None,
    ) -> RowNumbers:
        parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1])
        if mask is not None:
            parameters.sel = mask.selector
        lists, scores = np.ascontiguousarray(lists), np.ascontiguousarray(scores)
        found_scores = np.empty((len(queries), wanted_count), dtype=np.float32)
        rows = np.empty((len(queries), wanted_count), dtype=np.int64)
        # The method of the Python class takes no parameters, and so no mask.
        self._lists.search_preassigned_c(
            len(queries), faiss.swig_ptr(queries), wanted_count,
            faiss.swig_ptr(lists), faiss.swig_ptr(scores),
            faiss.swig_ptr(found_scores), faiss.swig_ptr(rows), False, parameters,
        )  # fmt: skip
        return rows
