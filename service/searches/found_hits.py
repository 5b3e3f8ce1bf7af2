"""Hits with all that is shown of them: their items, pictures, duplicates and captions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.galleries.gallery import Hit
from index_builder.galleries.items import Item
from index_builder.galleries.relevance import Relevance
from model.explanation import Explanation
from service.pairs.pair import ServedPair
from service.searches.arranging import Arranger
from service.searches.ranking import ArrangedHit, ArrangedPage
from service.searches.shown_captions import FoundCaption, HitOfImage, captions_beside

__all__ = ["FoundDuplicate", "FoundHit", "fetch_hits", "pictures_of"]

Embedding = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FoundDuplicate:
    """What was folded into a hit: its cosine with the query, and with the hit."""

    id: str
    score: float
    similarity: float


@dataclass(frozen=True)
class FoundHit:
    """A hit with its item.

    Attributes:
        hit: What was found.
        item: Its item.
        picture: The picture that it is or, being a caption, names.
        duplicates: What was folded into it; None where nothing is folded.
        captions: Captions of its image, where hits are grouped by it.
        relevance: How likely it belongs to the query, 0 to 1; None where that cannot be told.
        explanation: Why it has its score, if that was asked for and can be told.
    """

    hit: Hit
    item: Item
    picture: Item | None
    duplicates: list[FoundDuplicate] | None = None
    captions: list[FoundCaption] | None = None
    relevance: float | None = None
    explanation: Explanation | None = None


def fetch_hits(
    pages: Sequence[ArrangedPage],
    arranger: Arranger,
    embeddings: Sequence[Embedding],
    relevance: Relevance | None = None,
) -> list[list[FoundHit]]:
    """Return the hits with their items; one look-up for all of them.

    Args:
        pages: Of each query.
        arranger: Made them.
        embeddings: Of the queries.
        relevance: Tells of a score how likely its hit belongs to the query.
    """
    gallery, pair = arranger.gallery, arranger.pair
    arranged = [hit for page in pages for hit in page.hits]
    items = gallery.items_at({hit.row for hit in arranged})
    picture_of = {item.id: item for item in items.values()}
    if gallery.kind == "captions":
        picture_of = pictures_of(list(items.values()), pair)
    folded = {one.row for hit in arranged for one in hit.duplicates or ()}
    ids = gallery.ids_of_rows(list(folded)) if folded else {}

    def found(hit: ArrangedHit, captions: list[FoundCaption] | None) -> FoundHit:
        item = items[hit.row]
        duplicates = None
        if hit.duplicates is not None:
            duplicates = [
                FoundDuplicate(ids[one.row], one.score, one.similarity) for one in hit.duplicates
            ]
        found_hit = Hit(item.id, hit.row, hit.score, hit.rank)
        likely = None if relevance is None else relevance.of(hit.score)
        return FoundHit(found_hit, item, picture_of.get(item.id), duplicates, captions, likely)

    return [
        [found(hit, beside) for hit, beside in zip(page.hits, of_query, strict=True)]
        for page, of_query in zip(
            pages, _captions_beside(pages, items, arranger, embeddings), strict=True
        )
    ]


def _captions_beside(
    pages: Sequence[ArrangedPage],
    items: Mapping[int, Item],
    arranger: Arranger,
    embeddings: Sequence[Embedding],
) -> Sequence[Sequence[list[FoundCaption] | None]]:
    """Return what is shown beside each hit of each query; None where nothing is grouped."""
    captions = arranger.pair.galleries["captions"]
    if captions is None or not arranger.arrangement.is_grouped:
        return [[None] * len(page.hits) for page in pages]
    is_captions = arranger.gallery is captions
    hits = [
        [
            HitOfImage(items[hit.row].image_id, hit.row)
            if is_captions
            else HitOfImage(items[hit.row].id)
            for hit in page.hits
        ]
        for page in pages
    ]
    allowed = arranger.allowed if is_captions else None
    return captions_beside(captions, hits, embeddings, allowed=allowed)


def pictures_of(captions: Sequence[Item], pair: ServedPair) -> dict[str, Item]:
    """Return the picture of this index that each caption names, by the caption's id."""
    images = pair.galleries["images"]
    if images is None:
        return {}
    image_ids = {caption.image_id for caption in captions if caption.image_id is not None}
    pictures = images.items(list(image_ids))
    return {
        caption.id: pictures[caption.image_id]
        for caption in captions
        if caption.image_id in pictures
    }
