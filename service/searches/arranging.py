"""The stage between search and items: what the vectors found becomes the hits of a page.

Everything that `ranking` must look up comes from here: the captions that hold the words of a query,
the images that captions name, the stored vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.named_images import NOWHERE
from index_builder.vector_index import FoundRows, RowMask, RowNumbers
from service.errors import NoWordsError
from service.pairs.pair import ServedPair
from service.searches.ranking import (
    CANDIDATE_COUNT,
    ArrangedHit,
    ArrangedPage,
    Candidates,
    arrange,
    distinct_rows,
    fuse,
    offset_after,
)

__all__ = ["PLAIN", "Arrangement", "Arranger"]


@dataclass(frozen=True)
class Arrangement:
    """What becomes of the candidates of a query.

    Attributes:
        is_grouped: One hit for each image.
        fold_above: Cosine from which on a candidate is folded into an earlier one; None: none is.
        is_hybrid: The ranking by words is fused with that by vectors.
    """

    is_grouped: bool = False
    fold_above: float | None = None
    is_hybrid: bool = False

    @property
    def is_plain(self) -> bool:
        """The candidates are the hits, as they are."""
        return self == Arrangement()

    def depth(self, page_end: int) -> int:
        """Return how many candidates a page is made of that ends at this rank."""
        return page_end if self.is_plain else CANDIDATE_COUNT


PLAIN = Arrangement()


@dataclass(frozen=True)
class Arranger:
    """Makes pages of what was found in one gallery of a pair; on a thread that may look up.

    Attributes:
        pair: What answers.
        gallery: The one that was searched.
        arrangement: What becomes of the candidates.
        allowed: What a filter lets through, without removed rows; None: every row.
    """

    pair: ServedPair
    gallery: Gallery
    arrangement: Arrangement
    allowed: RowMask | None = None

    def check(self, words: Sequence[str | None]) -> None:
        """Refuse what cannot be arranged so.

        Args:
            words: Of each query, for hybrid search.

        Raises:
            NoWordsError: Hybrid search, and a query has none.
            MissingGalleryError: Hybrid search, and this index has no captions.
        """
        if self.arrangement.is_hybrid:
            self.pair.gallery("captions")
            if None in words:
                raise NoWordsError(
                    "hybrid search compares words with captions, and a query has none; "
                    "search with words, or with mode vector"
                )

    def page(
        self,
        found: FoundRows,
        embedding: npt.NDArray[np.float32],
        words: str | None,
        *,
        limit: int,
        offset: int,
    ) -> ArrangedPage:
        """Return the hits of ranks `offset + 1` to `offset + limit` of one query.

        Args:
            found: By vectors, as many as `Arrangement.depth` says.
            embedding: (dim,), of the query.
            words: Of the query, for hybrid search.
            limit: At least 1.
            offset: At least 0, `limit + offset <= 1000`.
        """
        candidates = Candidates(found.rows, found.scores)
        if self.arrangement.is_plain:
            return self._slice(candidates, limit=limit, offset=offset)
        if self.arrangement.is_hybrid and words is not None:
            candidates = fuse(
                candidates,
                self._rows_by_words(words),
                score_rows=lambda rows: self.gallery.scores_of_rows(embedding, rows),
            )
        is_by_caption = self.arrangement.is_grouped and self.gallery.kind == "captions"
        return arrange(
            candidates,
            limit=limit,
            offset=offset,
            image_ids_of=self._image_ids if is_by_caption else None,
            fold_above=self.arrangement.fold_above,
            vectors_of=self.gallery.vectors_of_rows,
        )

    def _slice(self, candidates: Candidates, *, limit: int, offset: int) -> ArrangedPage:
        """Return a page of candidates that reach no further than it."""
        rows, scores = candidates.rows[offset:], candidates.scores[offset:]
        hits = [
            ArrangedHit(int(row), float(score), rank, None)
            for rank, (row, score) in enumerate(zip(rows, scores, strict=True), offset + 1)
        ]
        hit_count = self.gallery.count if self.allowed is None else self.allowed.count
        return ArrangedPage(hits, offset_after(limit=limit, offset=offset, hit_count=hit_count))

    def _rows_by_words(self, words: str) -> RowNumbers:
        """Return the rows of the gallery by their captions that have any of the words, best first.

        An image counts by the best of the captions that name it.
        """
        captions, allowed = self.pair.gallery("captions"), self.allowed
        is_of_images = self.gallery.kind == "images"
        if is_of_images and allowed is not None:
            named = self.pair.named_images.captions_of(allowed.allowed)
            allowed = RowMask(named, captions.row_count)
        hits = captions.captions_matching(words, CANDIDATE_COUNT, allowed)
        rows = np.array([hit.row for hit in hits], dtype=np.int64)
        if is_of_images:
            images = self.pair.named_images.image_rows(rows)
            rows = distinct_rows(images[images != NOWHERE])
        return rows

    def _image_ids(self, rows: RowNumbers) -> list[str | None]:
        known = self.gallery.image_ids_of_rows(rows.tolist())
        return [known.get(row) for row in rows.tolist()]
