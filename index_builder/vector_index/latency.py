"""How long an index takes to answer, measured where it is built."""

import statistics
import time

from index_builder.galleries.manifest import LatencyRecord
from index_builder.vector_index.base import AllowedRows, Rows, VectorIndex
from index_builder.vector_index.row_mask import RowMask
from index_builder.vector_index.threads import used_thread_count

__all__ = ["measure_latency"]

_BATCH = 64
_WANTED_COUNT = 10
_LONG_ENOUGH_S = 0.5
_MAX_ROUNDS = 20


def measure_latency(
    index: VectorIndex, queries: Rows, allowed: AllowedRows | None = None
) -> LatencyRecord:
    """Return the median time of searches for ten hits, one query and 64 queries at once."""
    mask = RowMask.of(allowed, index.count)  # made once, as an open gallery does
    batch = queries[[place % len(queries) for place in range(_BATCH)]]
    return LatencyRecord(
        batch_1_ms=_median_ms(index, [batch[place : place + 1] for place in range(_BATCH)], mask),
        batch_64_ms=_median_ms(index, [batch], mask),
        threads=used_thread_count(),
    )


def _median_ms(index: VectorIndex, batches: list[Rows], mask: RowMask | None) -> float:
    index.search(batches[0], _WANTED_COUNT, allowed=mask)
    seconds: list[float] = []
    while len(seconds) < _MAX_ROUNDS and sum(seconds) < _LONG_ENOUGH_S:
        started = time.perf_counter()
        index.search(batches[len(seconds) % len(batches)], _WANTED_COUNT, allowed=mask)
        seconds.append(time.perf_counter() - started)
    return 1000 * statistics.median(seconds)
