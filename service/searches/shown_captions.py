"""The captions that are shown beside a hit: those of its image that fit the query best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.gallery import Gallery
from index_builder.vector_index import RowMask
from service.searches.ranking import SHOWN_CAPTIONS, ScoredRow, best_of_each

__all__ = ["FoundCaption", "HitOfImage", "captions_beside"]


@dataclass(frozen=True)
class FoundCaption:
    """A caption and the cosine of the query with it."""

    id: str
    caption: str | None
    score: float


@dataclass(frozen=True)
class HitOfImage:
    """A hit, its image, and the hit's own row if it is a caption itself."""

    image_id: str | None
    caption_row: int | None = None


def captions_beside(
    captions: Gallery,
    hits: Sequence[Sequence[HitOfImage]],
    embeddings: Sequence[npt.NDArray[np.float32]],
    *,
    allowed: RowMask | None = None,
) -> list[list[list[FoundCaption]]]:
    """Return for each hit of each query the captions of its image, best first, at most 10.

    All captions that name the image are scored, however deep they would lie in the ranking: what is
    shown does not depend on the page. A caption that is the hit itself is left out.

    Args:
        captions: The captions gallery.
        hits: Of each query.
        embeddings: (dim,), of each query.
        allowed: Which captions may be shown; None: all.
    """
    image_ids = {hit.image_id for of_query in hits for hit in of_query if hit.image_id is not None}
    rows_of_image: dict[str, list[int]] = {}
    for image_id, row in captions.rows_naming(image_ids):
        if allowed is None or allowed.allowed[row]:
            rows_of_image.setdefault(image_id, []).append(row)
    best = [
        _best(captions, rows_of_image, of_query, embedding)
        for of_query, embedding in zip(hits, embeddings, strict=True)
    ]
    shown = [
        [_without(hit.caption_row, of_image.get(hit.image_id or "", [])) for hit in of_query]
        for of_query, of_image in zip(hits, best, strict=True)
    ]
    items = captions.items_at({one.row for of_query in shown for of in of_query for one in of})
    return [
        [
            [FoundCaption(items[o.row].id, items[o.row].caption, o.score) for o in of_hit]
            for of_hit in of_query
        ]
        for of_query in shown
    ]


def _best(
    captions: Gallery,
    rows_of_image: Mapping[str, Sequence[int]],
    hits: Sequence[HitOfImage],
    embedding: npt.NDArray[np.float32],
) -> dict[str, list[ScoredRow]]:
    named = [
        (image_id, row)
        for image_id in dict.fromkeys(hit.image_id for hit in hits if hit.image_id is not None)
        for row in rows_of_image.get(image_id, ())
    ]
    rows = np.array([row for _, row in named], dtype=np.int64)
    scores = captions.scores_of_rows(embedding, rows)
    # One more than is shown, for the hit itself may be among them.
    return best_of_each(
        [image_id for image_id, _ in named], rows, scores, wanted_count=SHOWN_CAPTIONS + 1
    )


def _without(row: int | None, captions: Sequence[ScoredRow]) -> list[ScoredRow]:
    return [one for one in captions if one.row != row][:SHOWN_CAPTIONS]
