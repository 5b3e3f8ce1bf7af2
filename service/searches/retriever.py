"""Query -> embedding -> hits, with items: the walk of a search, on one pair from end to end."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind
from index_builder.lookups.filter_checks import FilterError
from index_builder.lookups.filters import Filter
from index_builder.vector_index import FoundRows, RowMask
from service.errors import BadFilterError
from service.pairs.pair import ServedIndex, ServedPair
from service.pairs.serving import Serving
from service.pairs.workers import Workers
from service.searches.arranging import PLAIN, Arrangement, Arranger
from service.searches.explain import MAX_EXPLAINED_HITS, HitExplainer, ScoredItem
from service.searches.found_hits import FoundHit, fetch_hits
from service.searches.queries import Embedded, Queries
from service.traffic.admission import Admission, Stopwatch

__all__ = ["EmbeddedQueries", "FoundPage", "Page", "Retrieval", "Retriever"]


@dataclass(frozen=True)
class Page:
    """Which part of which ranking is asked for.

    Attributes:
        filter: What may be found; None = everything.
        filter_place: Where it stands in the request.
    """

    target: GalleryKind
    limit: int = 10
    offset: int = 0
    version: int | None = None
    arrangement: Arrangement = PLAIN
    explain: bool = False
    filter: Filter | None = None
    filter_place: str = "filter"

    @property
    def depth(self) -> int:
        """How many rows have to be found for this page."""
        return self.arrangement.depth(self.offset + self.limit)


@dataclass(frozen=True)
class FoundPage:
    """What one query found, best first.

    Attributes:
        fits: False if the query is unlike what the index holds; None where that cannot be told.
    """

    hits: list[FoundHit]
    next_offset: int | None
    warnings: list[str]
    fits: bool | None = None


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
        max_pixels: The largest picture that is decoded.
    """

    def __init__(
        self, serving: Serving, admission: Admission, workers: Workers, *, max_pixels: int
    ) -> None:
        self._serving = serving
        self._admission = admission
        self._workers = workers
        self._explainer = HitExplainer(workers, max_pixels=max_pixels)

    async def search(self, queries: Queries, page: Page) -> Retrieval:
        """Return what each query finds.

        Raises:
            QueryError: A kind of it says why not.
        """
        with self._serving.leased(page.version) as pair:
            gallery = pair.gallery(page.target)
            arranger = Arranger(pair, gallery, page.arrangement)
            arranger.check(queries.words)
            item_count = queries.count
            if page.explain:
                self._explainer.check(queries, page.target, pair.encoder)
                item_count = max(item_count, MAX_EXPLAINED_HITS)
            async with self._admission.admitted(item_count) as stopwatch:
                allowed = await self._allowed(gallery, page, stopwatch)
                embedded = await queries.embed(pair, self._workers, stopwatch)
                arranger = replace(arranger, allowed=allowed)
                found = await pair.searcher.search(
                    gallery, embedded.embeddings, page.depth, allowed=allowed, stopwatch=stopwatch
                )

                def finish() -> list[FoundPage]:
                    return _found_pages(found, embedded, queries, arranger, page)

                # In one go: a thread that hands over to another costs as much as all of it.
                pages = await self._workers.run_stage(
                    self._workers.readers, "fetch", stopwatch, finish
                )
                if page.explain:
                    pages = await self._explained(pages, queries, pair, stopwatch)
                return Retrieval(pages, pair.served, stopwatch.timing_ms())

    async def embed(self, queries: Queries) -> EmbeddedQueries:
        """Return the queries in the space of the served galleries.

        Raises:
            QueryError: A kind of it says why not.
        """
        with self._serving.leased() as pair:
            async with self._admission.admitted(queries.count) as stopwatch:
                embedded = await queries.embed(pair, self._workers, stopwatch)
                return EmbeddedQueries(embedded, pair.served)

    async def _allowed(self, gallery: Gallery, page: Page, stopwatch: Stopwatch) -> RowMask | None:
        """Return what the filter lets through; None if there is no filter.

        Raises:
            BadFilterError: The gallery has no such columns, or of other types.
        """
        if page.filter is None:
            return None
        try:
            return await self._workers.run_stage(
                self._workers.readers, "search", stopwatch, gallery.matching, page.filter
            )
        except FilterError as error:
            raise BadFilterError(error, where=page.filter_place) from error

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


def _found_pages(
    found: Sequence[FoundRows],
    embedded: Embedded,
    queries: Queries,
    arranger: Arranger,
    page: Page,
) -> list[FoundPage]:
    """Return the page of each query, of the best hits that its search found."""
    arranged = [
        arranger.page(*of_query, limit=page.limit, offset=page.offset)
        for of_query in zip(found, embedded.embeddings, queries.words, strict=True)
    ]
    kind, index = queries.kind, arranger.pair.index
    relevance = None if kind is None else index.relevance(kind, arranger.gallery.kind)
    hits = fetch_hits(arranged, arranger, embedded.embeddings, relevance)
    told = None if kind is None else index.fits(kind, np.stack(embedded.embeddings))
    fits: Sequence[bool | None] = [None] * len(arranged) if told is None else told
    return [
        FoundPage(of_query, one.next_offset, warnings, fitting)
        for of_query, one, warnings, fitting in zip(
            hits, arranged, embedded.warnings, fits, strict=True
        )
    ]
