"""How many threads a search is worth.

libgomp keeps FAISS's number of threads per calling thread, so it is set before every search.
"""

import os

import faiss

__all__ = ["use_threads", "used_thread_count"]

# Waking a team of threads costs more than so many products of two numbers.
_SMALL_WORK = 1 << 24


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
