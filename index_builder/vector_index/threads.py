"""How FAISS computes: with how many threads, and from how many queries on with BLAS.

libgomp keeps FAISS's number of threads per calling thread, so it is set before every search.
"""

import os

import faiss

__all__ = ["BATCH_OF_A_PRODUCT", "use_blas", "use_threads", "used_thread_count"]

# By default FAISS uses BLAS only from about 125 queries of 1024 numbers on. From 4 queries on it is
# faster (measured at 1024-d: 8 queries x2.5, 32 queries x5); one query is not.
BATCH_OF_A_PRODUCT = 4

# Waking a team of threads costs more than so many products of two numbers.
_SMALL_WORK = 1 << 24


def use_blas(dim: int) -> int:
    """Let FAISS multiply matrices from 4 queries of this size on; return its threshold.

    FAISS has one threshold for all indexes. It counts for flat indexes and for centroids.
    """
    threshold = BATCH_OF_A_PRODUCT * dim
    faiss.cvar.distance_compute_blas_threshold = threshold
    return threshold


def use_threads(product_count: int | None = None) -> None:
    """Let FAISS use the threads that work of so many products is worth (default: all)."""
    is_small = product_count is not None and product_count < _SMALL_WORK
    faiss.omp_set_num_threads(1 if is_small else used_thread_count())


def used_thread_count() -> int:
    """Return how many threads this process may use: OMP_NUM_THREADS, else its processors."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
