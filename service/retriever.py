"""Query -> embedding -> hits, with items: the walk of a search, on one pair from end to end."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from index_builder.gallery import MAX_HIT_COUNT, Gallery, Hit
from index_builder.items import Item
from index_builder.manifest import GalleryKind
from model.explanation import Explanation
from service.admission import Admission, Stopwatch
from service.explain import MAX_EXPLAINED_HITS, HitExplainer, ScoredItem
from service.pair import ServedIndex, ServedPair
from service.queries import Queries
from service.serving import Serving
from service.workers import Workers

__all__ = ["FoundHit", "FoundPage", "Page", "Retrieval", "Retriever", "pictures_of"]


@dataclass(frozen=True)
class Page:
    """Which part of which ranking is asked for."""

    target: GalleryKind
    limit: int = 10
    offset: int = 0
    version: int | None = None
    explain: bool = False

    @property
    def depth(self) -> int:
        """How many hits lie before the end of this page."""
        return self.offset + self.limit

    def next_offset(self, item_count: int) -> int | None:
        """Return where the next page begins; None if there is none, or it would reach too deep."""
        following = self.offset + self.limit
        return following if following < min(item_count, MAX_HIT_COUNT - self.limit + 1) else None


@dataclass(frozen=True)
class FoundHit:
    """A hit with its item, and the picture that it is or, being a caption, names.

    Attributes:
        explanation: Why it has its score, if that was asked for and can be told.
    """

    hit: Hit
    item: Item
    picture: Item | None
    explanation: Explanation | None = None


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


class Retriever:
    """Answers queries from the served pairs.

    Args:
        serving: Which pair answers.
        admission: How much may be under way.
        workers: Threads for pictures and items.
        max_pixels: The largest picture that is decoded.
    """

    def __init__(
        self, serving: Serving, admission: Admission, workers: Workers, *, max_pixels: int
    ) -> None:
        self.serving = serving
        self.admission = admission
        self.workers = workers
        self._explainer = HitExplainer(workers, max_pixels=max_pixels)

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
            gallery = pair.gallery(page.target)
            item_count = queries.count
            if page.explain:
                self._explainer.check(queries, page.target, pair.encoder)
                item_count = max(item_count, MAX_EXPLAINED_HITS)
            async with self.admission.admitted(item_count) as stopwatch:
                embedded = await queries.embed(pair, self.workers, stopwatch)
                ranked = await pair.searcher.search(
                    gallery, embedded.embeddings, page.depth, stopwatch=stopwatch
                )
                hits = [ranking[page.offset :] for ranking in ranked]
                found = await self.workers.run_stage(
                    self.workers.readers, "fetch", stopwatch, _fetch, hits, gallery, pair
                )
                next_offset = page.next_offset(gallery.count)
                pages = [
                    FoundPage(hits=hits_of_query, next_offset=next_offset, warnings=warnings)
                    for hits_of_query, warnings in zip(found, embedded.warnings, strict=True)
                ]
                if page.explain:
                    pages = await self._explained(pages, queries, pair, stopwatch)
                return Retrieval(pages, pair.served, stopwatch.timing_ms())

    async def _explained(
        self, pages: list[FoundPage], queries: Queries, pair: ServedPair, stopwatch: Stopwatch
    ) -> list[FoundPage]:
        """Return the pages with an explanation of every hit that has one."""
        hits = [[ScoredItem(one.item, one.hit.score) for one in page.hits] for page in pages]
        explained = await self._explainer.explain(queries, hits, pair, stopwatch)
        return [
            replace(
                page,
                hits=[
                    replace(found, explanation=explanation)
                    for found, explanation in zip(page.hits, of.explanations, strict=True)
                ],
                warnings=[*page.warnings, *of.warnings],
            )
            for page, of in zip(pages, explained, strict=True)
        ]


def _fetch(
    hits: Sequence[Sequence[Hit]], gallery: Gallery, pair: ServedPair
) -> list[list[FoundHit]]:
    """Return the hits with their items; one look-up for all of them."""
    ids = {hit.item_id for hits_of_query in hits for hit in hits_of_query}
    items = gallery.items(list(ids))
    picture_of = items
    if gallery.kind == "captions":
        picture_of = pictures_of(list(items.values()), pair)
    return [
        [FoundHit(hit, items[hit.item_id], picture_of.get(hit.item_id)) for hit in of_query]
        for of_query in hits
    ]


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
