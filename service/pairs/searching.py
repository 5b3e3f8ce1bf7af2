"""The galleries of a served pair and the one thread that searches them.

Queries of all clients share a search where they ask the same gallery with the same filter. They may
ask for different depths: the answer to a few hits is the beginning of the answer to more. Only
searches for more than 100 hits, which take more effort, go apart, so that others need not wait for
them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.gallery import Gallery
from index_builder.vector_index import FoundRows, RowMask
from service.pairs.batching import BatchLimits, BatchReport, SharedBatches, ignore_report
from service.traffic.admission import Stopwatch

__all__ = ["GallerySearcher"]

_SHALLOW = 100

Embedding = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Wanted:
    embedding: Embedding
    depth: int


@dataclass(frozen=True)
class _SharedSearch:
    """The work of a batch; equal if its queries can be answered together."""

    gallery: Gallery
    is_shallow: bool
    allowed: RowMask | None

    def __call__(self, wanted: list[_Wanted]) -> list[FoundRows]:
        queries = np.stack([one.embedding for one in wanted])
        depth = max(one.depth for one in wanted)
        found = self.gallery.find_rows(queries, depth, allowed=self.allowed)
        return [
            FoundRows(answer.rows[: one.depth], answer.scores[: one.depth])
            for answer, one in zip(found, wanted, strict=True)
        ]


class GallerySearcher:
    """Searches galleries on one thread, in batches that all clients share.

    Args:
        limits: Of its batches.
        observe: Is told of every batch.
    """

    def __init__(
        self,
        *,
        limits: BatchLimits | None = None,
        observe: Callable[[BatchReport], None] = ignore_report,
    ) -> None:
        self._batches = SharedBatches("search", limits=limits or BatchLimits(), observe=observe)

    async def search(
        self,
        gallery: Gallery,
        embeddings: Sequence[Embedding],
        depth: int,
        *,
        allowed: RowMask | None = None,
        stopwatch: Stopwatch | None = None,
    ) -> list[FoundRows]:
        """Return the best `depth` rows of each query, best first; nobody's items are looked up.

        Args:
            gallery: Where.
            embeddings: (dim,) each, float32.
            depth: 1 to 1,000.
            allowed: What may be found, of `gallery`, without removed rows; None allows every row
                but those. Queries share a search where they are given the very same mask.
            stopwatch: Learns how long it took.
        """
        work = _SharedSearch(gallery, depth <= _SHALLOW, allowed)
        wanted = [_Wanted(embedding, depth) for embedding in embeddings]
        return await self._batches.run(work, wanted, stopwatch)

    def search_now(self, gallery: Gallery, embeddings: npt.NDArray[np.float32]) -> list[FoundRows]:
        """Return the best row of each query; for threads other than that of the event loop."""
        work = _SharedSearch(gallery, True, None)
        return self._batches.run_and_wait(work, [_Wanted(one, 1) for one in embeddings])

    def close(self) -> None:
        """Finish the batch that runs and end the thread."""
        self._batches.close()
