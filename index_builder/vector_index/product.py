"""Brute force in torch: a matrix product, block after block, and the best of all blocks so far.

One code for three uses: rows on a GPU, where the filter is a mask; the few rows that a filter lets
through, gathered from a file; and batches of filtered queries on a CPU, which FAISS would answer
one by one. Any number of hits; memory is that of one block of scores.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from index_builder.vector_index.base import RowNumbers, Rows, StoredRows
from index_builder.vector_index.row_mask import RowMask

__all__ = ["GatheredRows", "ResidentRows"]

# A block of vectors on the CPU: 16 MB of float32 at 1024-d, about what caches hold.
_GATHERED_AT_ONCE = 4096
# A block of scores on a GPU: 256 MB for 64 queries.
_RESIDENT_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class _Block:
    """Vectors to compare with: the number of each row, and which may be found (None: all)."""

    vectors: Float[Tensor, "row dim"]
    rows: Int[Tensor, " row"]
    is_allowed: Bool[Tensor, " row"] | None = None


class GatheredRows:
    """The allowed rows of vectors that lie elsewhere, gathered block by block; on the CPU.

    Args:
        vectors: All rows.
        rows: The numbers of those to compare with, ascending.
    """

    def __init__(self, vectors: StoredRows, rows: RowNumbers) -> None:
        self._vectors = vectors
        self._rows = rows

    def best(self, queries: Rows, wanted_count: int) -> tuple[Rows, RowNumbers]:
        """Return float32 scores and row numbers (query, hit), best first; -inf, -1 at the end."""
        return _best(torch.from_numpy(queries), self._blocks(), wanted_count)

    def at_least(self, query: Rows, threshold: float) -> RowNumbers:
        """Return the rows whose float32 score reaches the threshold, ascending."""
        return _at_least(torch.from_numpy(query), self._blocks(), threshold)

    def _blocks(self) -> Iterator[_Block]:
        for start in range(0, len(self._rows), _GATHERED_AT_ONCE):
            rows = self._rows[start : start + _GATHERED_AT_ONCE]
            gathered = torch.from_numpy(np.ascontiguousarray(self._vectors[rows]))
            yield _Block(gathered.float(), torch.from_numpy(rows))


class ResidentRows:
    """All rows of an index, kept on a device of torch.

    Args:
        vectors: All rows, where they are to be compared: on a GPU, or on the CPU for tests.
        mask: Which rows may be found; None allows every row.
        at_once: Rows compared at once; default: 2^20.
    """

    def __init__(
        self, vectors: Float[Tensor, "row dim"], mask: RowMask | None, *, at_once: int | None = None
    ) -> None:
        self._vectors = vectors
        self._is_allowed = (
            None if mask is None else torch.from_numpy(mask.allowed).to(vectors.device)
        )
        self._at_once = at_once or _RESIDENT_AT_ONCE

    def best(self, queries: Rows, wanted_count: int) -> tuple[Rows, RowNumbers]:
        """Return float32 scores and row numbers (query, hit), best first; -inf, -1 at the end."""
        on_device = torch.from_numpy(queries).to(self._vectors.device)
        return _best(on_device, self._blocks(), wanted_count)

    def at_least(self, query: Rows, threshold: float) -> RowNumbers:
        """Return the rows whose float32 score reaches the threshold, ascending."""
        on_device = torch.from_numpy(query).to(self._vectors.device)
        return _at_least(on_device, self._blocks(), threshold)

    def _blocks(self) -> Iterator[_Block]:
        for start in range(0, len(self._vectors), self._at_once):
            vectors = self._vectors[start : start + self._at_once]
            rows = torch.arange(start, start + len(vectors), device=vectors.device)
            allowed = self._is_allowed
            yield _Block(
                vectors, rows, None if allowed is None else allowed[start : start + len(vectors)]
            )


@torch.inference_mode()
def _best(
    queries: Float[Tensor, "query dim"], blocks: Iterator[_Block], wanted_count: int
) -> tuple[Rows, RowNumbers]:
    scores = queries.new_empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    with _full_float32():
        for block in blocks:
            in_block = _scores(queries, block)
            best, places = in_block.topk(min(wanted_count, in_block.shape[1]))
            scores = torch.cat([scores, best], dim=1)
            rows = torch.cat([rows, block.rows[places]], dim=1)
            if scores.shape[1] > wanted_count:
                scores, places = scores.topk(wanted_count)
                rows = rows.gather(1, places)
    rows = rows.masked_fill(scores == -torch.inf, -1)
    return scores.cpu().numpy(), rows.cpu().numpy()


@torch.inference_mode()
def _at_least(
    query: Float[Tensor, " dim"], blocks: Iterator[_Block], threshold: float
) -> RowNumbers:
    with _full_float32():
        found = [
            block.rows[_scores(query[None], block)[0] >= threshold].cpu().numpy()
            for block in blocks
        ]
    return np.concatenate(found)


def _scores(queries: Float[Tensor, "query dim"], block: _Block) -> Float[Tensor, "query row"]:
    scores = queries @ block.vectors.T
    if block.is_allowed is not None:
        scores.masked_fill_(~block.is_allowed, -torch.inf)
    return scores


@contextmanager
def _full_float32() -> Iterator[None]:
    # TensorFloat-32 or bfloat16 products would break the bound on rounding that exact search needs.
    asked = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(asked)
