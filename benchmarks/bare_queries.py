"""Queries without a service: the network and the index alone, in a process on one core.

    with BareQueries(index, core=0) as bare:
        bare.one_by_one(captions)       # seconds of each
        bare.batched(captions, 64)      # queries a second

What a service adds to these is what it costs.
"""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

__all__ = ["BareQueries"]

_LIMIT = 10
_opened: dict[str, Any] = {}


class BareQueries:
    """A process that has opened an index and its network; it waits idle between the questions."""

    def __init__(self, index: Path, *, core: int | None = None) -> None:
        # Read when the new process imports torch.
        before = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"
        self._process = ProcessPoolExecutor(
            1, mp_context=get_context("spawn"), initializer=_open, initargs=(index, core)
        )
        try:
            self._process.submit(_is_open).result()
        finally:
            if before is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = before

    def __enter__(self) -> "BareQueries":
        """Return the process itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.shutdown()

    def one_by_one(self, captions: Sequence[str]) -> list[float]:
        """Return the seconds that encoding and searching each caption alone takes."""
        return self._process.submit(_one_by_one, captions).result()

    def batched(self, captions: Sequence[str], batch_size: int, seconds: float) -> float:
        """Return queries a second in batches, over at least two batches and so many seconds."""
        return self._process.submit(_batched, captions, batch_size, seconds).result()

    def scores(self, captions: Sequence[str]) -> list[list[float]]:
        """Return the scores of the first ten hits of each caption."""
        return self._process.submit(_scores, captions).result()


def _open(index: Path, core: int | None) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
    from index_builder.index_folder.versions import IndexFolder
    from model.dual_encoder import load_dual_encoder

    opened = IndexFolder(index).open()
    _opened["gallery"] = opened.images
    _opened["encoder"] = load_dual_encoder(opened.checkpoint_path)
    _search(["one to be warm"])


def _is_open() -> bool:
    return bool(_opened)


def _search(captions: Sequence[str]) -> Any:
    embeddings = _opened["encoder"].encode_captions(captions, batch_size=len(captions)).numpy()
    return _opened["gallery"].search(embeddings, _LIMIT)


def _one_by_one(captions: Sequence[str]) -> list[float]:
    seconds = []
    for caption in captions:
        started = time.perf_counter()
        _search([caption])
        seconds.append(time.perf_counter() - started)
    return seconds


def _batched(captions: Sequence[str], batch_size: int, seconds: float) -> float:
    started, count, place = time.perf_counter(), 0, 0
    while count < 2 * batch_size or time.perf_counter() - started < seconds:
        batch = [captions[(place + one) % len(captions)] for one in range(batch_size)]
        _search(batch)
        count, place = count + batch_size, place + batch_size
    return count / (time.perf_counter() - started)


def _scores(captions: Sequence[str]) -> list[list[float]]:
    return [[hit.score for hit in hits] for hits in _search(captions)]
