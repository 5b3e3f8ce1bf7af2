"""Query -> embedding -> hits, with items: the walk of a search, on one pair from end to end."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from index_builder.gallery import Hit
from index_builder.items import Item
from index_builder.manifest import GalleryKind
from service.admission import Admission
from service.arranging import PLAIN, Arrangement, Arranger
from service.pair import ServedIndex, ServedPair
from service.queries import Embedded, Queries
from service.ranking import ArrangedHit, ArrangedPage
from service.serving import Serving
from service.shown_captions import FoundCaption, HitOfImage, captions_beside
from service.workers import Workers

__all__ = [
    "EmbeddedQueries",
    "FoundDuplicate",
    "FoundHit",
    "FoundPage",
    "Page",
    "Retrieval",
    "Retriever",
    "pictures_of",
]

Embedding = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Page:
    """Which part of which ranking is asked for."""

    target: GalleryKind
    limit: int = 10
    offset: int = 0
    version: int | None = None
    arrangement: Arrangement = PLAIN

    @property
    def depth(self) -> int:
        """How many rows have to be found for this page."""
        return self.arrangement.depth(self.offset + self.limit)


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
    """

    hit: Hit
    item: Item
    picture: Item | None
    duplicates: list[FoundDuplicate] | None = None
    captions: list[FoundCaption] | None = None


@dataclass(frozen=True)
class FoundPage:
    """What one query found, best first."""

    hits: list[FoundHit]
    next_offset: int | None
    warnings: list[str]


@dataclass(frozen=True)
class Retrieval:
    """What the queries of one request found, in their order, by what, and where the time went."""

    pages: list[FoundPage]
    served: ServedIndex
    timing_ms: dict[str, float]


@dataclass(frozen=True)
class EmbeddedQueries:
    """The queries of one request in the space of the galleries, and by what."""

    embedded: Embedded
    served: ServedIndex


class Retriever:
    """Answers queries from the served pairs.

    Args:
        serving: Which pair answers.
        admission: How much may be under way.
        workers: Threads for pictures and items.
    """

    def __init__(self, serving: Serving, admission: Admission, workers: Workers) -> None:
        self.serving = serving
        self.admission = admission
        self.workers = workers

    async def why_not_ready(self) -> str | None:
        """Return why a query would not be answered now, or None if it would be."""
        admission = self.admission
        if admission.is_closed:
            return "the service is stopping"
        if admission.waiting_items >= admission.max_waiting_items:
            return f"{admission.waiting_items} items are waiting; the queue is full"
        if admission.is_in_doubt:
            # Only a query can tell whether what went wrong still does.
            try:
                with self.serving.leased() as pair:
                    async with asyncio.timeout(admission.timeout_s):
                        await asyncio.to_thread(pair.answer_canary)
            except Exception as error:
                return f"queries fail ({type(error).__name__}); the log tells more"
            admission.is_in_doubt = False
        return None

    async def search(self, queries: Queries, page: Page) -> Retrieval:
        """Return what each query finds.

        Raises:
            QueryError: A kind of it says why not.
        """
        with self.serving.leased(page.version) as pair:
            arranger = Arranger(pair, pair.gallery(page.target), page.arrangement)
            arranger.check(queries.words)
            async with self.admission.admitted(queries.count) as stopwatch:
                embedded = await queries.embed(pair, self.workers, stopwatch)
                found = await pair.searcher.search(
                    arranger.gallery, embedded.embeddings, page.depth, stopwatch=stopwatch
                )

                def arranged() -> list[ArrangedPage]:
                    return [
                        arranger.page(*of_query, limit=page.limit, offset=page.offset)
                        for of_query in zip(found, embedded.embeddings, queries.words, strict=True)
                    ]

                readers = self.workers.readers
                pages = await self.workers.run_stage(readers, "search", stopwatch, arranged)
                hits = await self.workers.run_stage(
                    readers, "fetch", stopwatch, _fetch, pages, arranger, embedded.embeddings
                )
                of_queries = zip(hits, pages, embedded.warnings, strict=True)
                return Retrieval(
                    [FoundPage(one, page.next_offset, codes) for one, page, codes in of_queries],
                    pair.served,
                    stopwatch.timing_ms(),
                )

    async def embed(self, queries: Queries) -> EmbeddedQueries:
        """Return the queries in the space of the served galleries.

        Raises:
            QueryError: A kind of it says why not.
        """
        with self.serving.leased() as pair:
            async with self.admission.admitted(queries.count) as stopwatch:
                embedded = await queries.embed(pair, self.workers, stopwatch)
                return EmbeddedQueries(embedded, pair.served)


def _fetch(
    pages: Sequence[ArrangedPage], arranger: Arranger, embeddings: Sequence[Embedding]
) -> list[list[FoundHit]]:
    """Return the hits with their items; one look-up for all of them."""
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
        return FoundHit(found_hit, item, picture_of.get(item.id), duplicates, captions)

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
