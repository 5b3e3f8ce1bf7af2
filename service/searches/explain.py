"""Why a hit was found: the score of a picture and a caption, as a sum over (region, word).

An index keeps embeddings and not their parts, so both sides are encoded again: the captions from
their text, indexed pictures from their source. That is as much work as a query, so it is bounded:
`MAX_EXPLAINED_HITS` of a request, the first of every query before the second of any.

What hinders an explanation of one hit leaves it null, with a warning for its query:
- `explanation_limited`: the hit lies beyond that bound;
- `explanation_source_gone`: the picture's file is gone, changed or too large, or there never was
  one, because region features were indexed;
- `explanation_inexact`: there is one, but it sums to the score to less than 1e-4: the gallery was
  encoded otherwise, or only the copy for display is left of a picture whose shard is gone.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import GalleryKind
from index_builder.listing.source_bytes import read_source
from index_builder.sources import EntryError
from model.errors import PictureError
from model.explanation import CaptionParts, Explanation, ImageParts, explain
from model.inputs.pictures import open_picture
from service.errors import CannotExplainError
from service.pairs.encoding import EncoderOwner, ReadPicture
from service.pairs.pair import ServedPair
from service.pairs.workers import Workers
from service.searches.queries import (
    CaptionQueries,
    IndexedImageQuery,
    PictureQueries,
    Queries,
    RegionsQuery,
)
from service.traffic.admission import Stopwatch

__all__ = ["MAX_EXPLAINED_HITS", "Explained", "HitExplainer", "ScoredItem"]

MAX_EXPLAINED_HITS = 10
EXACT_TO = 1e-4
LIMITED = "explanation_limited"
SOURCE_GONE = "explanation_source_gone"
INEXACT = "explanation_inexact"
SEVERAL_QUERIES = "a sum of several queries is not explained; search with one of them"

K = TypeVar("K")
P = TypeVar("P")
Sides: TypeAlias = tuple[ImageParts | None, CaptionParts]


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """A found item and its score."""

    item: Item
    score: float


@dataclass(frozen=True)
class Explained:
    """The explanations of what one query found.

    Attributes:
        explanations: One for each hit, in the order given, or None.
        warnings: Codes of why some are missing or not exact.
    """

    explanations: list[Explanation | None]
    warnings: list[str]

    def take(self, rank: int, score: float, image: ImageParts | None, words: CaptionParts) -> None:
        """Explain a hit, or warn that its picture is not to be had."""
        if image is None:
            self.warn(SOURCE_GONE)
            return
        explanation = explain(image, words)
        self.explanations[rank] = explanation
        if not abs(explanation.score - score) <= EXACT_TO:
            self.warn(INEXACT)

    def warn(self, code: str) -> None:
        """Add a warning, once."""
        if code not in self.warnings:
            self.warnings.append(code)


class HitExplainer:
    """Explains the hits of requests.

    Args:
        workers: Threads for pictures and items.
        max_pixels: The largest picture that is decoded.
    """

    def __init__(self, workers: Workers, *, max_pixels: int) -> None:
        self._workers = workers
        self._max_pixels = max_pixels

    def check(self, queries: Queries, target: GalleryKind, encoder: EncoderOwner) -> None:
        """Refuse what cannot be explained, before anything is encoded.

        Raises:
            CannotExplainError: The encoder is no HREM, or the pairs are not of a picture and a
                caption.
        """
        encoder.check_explains()
        if isinstance(queries, CaptionQueries):
            explained: GalleryKind = "images"
        elif isinstance(queries, PictureQueries | IndexedImageQuery | RegionsQuery):
            explained = "captions"
        else:
            raise CannotExplainError(SEVERAL_QUERIES)
        if target != explained:
            raise CannotExplainError(
                "only a picture with a caption can be explained, region by word; leave explain "
                f"out, or search the {explained}"
            )

    async def explain(
        self,
        queries: Queries,
        hits: Sequence[Sequence[ScoredItem]],
        pair: ServedPair,
        stopwatch: Stopwatch,
    ) -> list[Explained]:
        """Return the explanations of what each query found; `check` has passed.

        Args:
            queries: What was searched with.
            hits: What each found, best first.
            pair: What answered; held open.
            stopwatch: Learns how long it took.
        """
        by_rank = sorted((rank, query) for query, of in enumerate(hits) for rank in range(len(of)))
        chosen = [(query, rank) for rank, query in by_rank[:MAX_EXPLAINED_HITS]]
        explained = [Explained([None] * len(of), []) for of in hits]
        if not chosen:
            return explained
        asked = sorted({query for query, _ in chosen})
        items = {hit.item.id: hit.item for hit in (hits[query][rank] for query, rank in chosen)}
        if isinstance(queries, CaptionQueries):
            texts = {query: queries.captions[query] for query in asked}
            words_of_query = await _caption_parts(texts, pair, stopwatch)
            regions_of_item = await self._indexed_parts(items, pair, stopwatch)

            def sides(query: int, item: Item) -> Sides:
                return regions_of_item[item.id], words_of_query[query]
        else:
            captions = {item_id: item.caption or "" for item_id, item in items.items()}
            words_of_item = await _caption_parts(captions, pair, stopwatch)
            regions_of_query = await self._query_parts(queries, asked, pair, stopwatch)

            def sides(query: int, item: Item) -> Sides:
                return regions_of_query[query], words_of_item[item.id]

        for query, rank in chosen:
            hit = hits[query][rank]
            explained[query].take(rank, hit.score, *sides(query, hit.item))
        for _, query in by_rank[MAX_EXPLAINED_HITS:]:
            explained[query].warn(LIMITED)
        return explained

    async def _query_parts(
        self, queries: Queries, asked: Sequence[int], pair: ServedPair, stopwatch: Stopwatch
    ) -> dict[int, ImageParts | None]:
        """Return the parts of the pictures that were searched with, by their place."""
        match queries:
            case PictureQueries(uploads=uploads):
                contents = {query: uploads[query].content for query in asked}
                return await self._picture_parts(contents, _as_it_is, pair, stopwatch)
            case IndexedImageQuery(image_id=image_id):
                look_up = pair.gallery("images").item
                item = await self._workers.run(self._workers.readers, look_up, image_id)
                found = {} if item is None else {image_id: item}
                parts = await self._indexed_parts(found, pair, stopwatch)
                return dict.fromkeys(asked, parts.get(image_id))
            case RegionsQuery(features=features):
                return dict.fromkeys(asked, await pair.encoder.region_parts(features, stopwatch))
        raise CannotExplainError(SEVERAL_QUERIES)

    async def _indexed_parts(
        self, items: Mapping[str, Item], pair: ServedPair, stopwatch: Stopwatch
    ) -> dict[str, ImageParts | None]:
        """Return the parts of indexed pictures, by id; None where the picture is not to be had."""
        images = pair.gallery("images")

        def content_of(item: Item) -> bytes | None:
            return _source_or_copy(item, images)

        return await self._picture_parts(items, content_of, pair, stopwatch)

    async def _picture_parts(
        self,
        pictures: Mapping[K, P],
        content_of: Callable[[P], bytes | None],
        pair: ServedPair,
        stopwatch: Stopwatch,
    ) -> dict[K, ImageParts | None]:
        """Return the parts of pictures; None where one is not to be had."""

        def read(picture: P) -> ReadPicture | None:
            content = content_of(picture)
            return None if content is None else self._read(content, pair.encoder)

        workers = self._workers
        # As for queries: a decoder is done with one picture before it takes the next.
        read_ones = await asyncio.gather(
            *(
                workers.run_stage(workers.decoders, "decode", stopwatch, read, picture)
                for picture in pictures.values()
            )
        )
        there = {key: one for key, one in zip(pictures, read_ones, strict=True) if one is not None}
        found: dict[K, ImageParts | None] = dict.fromkeys(pictures)
        if there:
            parts = await pair.encoder.picture_parts(list(there.values()), stopwatch)
            found.update(zip(there, parts, strict=True))
        return found

    def _read(self, content: bytes, encoder: EncoderOwner) -> ReadPicture | None:
        try:
            picture = open_picture(content, max_pixels=self._max_pixels)
        except PictureError:
            return None
        return ReadPicture(encoder.pixels_of(picture), picture.size)


async def _caption_parts(
    captions: Mapping[K, str], pair: ServedPair, stopwatch: Stopwatch
) -> dict[K, CaptionParts]:
    parts = await pair.encoder.caption_parts(list(captions.values()), stopwatch)
    return dict(zip(captions, parts, strict=True))


def _source_or_copy(item: Item, images: Gallery) -> bytes | None:
    """Return the bytes that an image was indexed by, else its copy for display, else None."""
    try:
        return read_source(item, images.images_root)
    except EntryError:
        return None if item.span is None else images.display_copy_of_content(item.content_hash)


def _as_it_is(content: bytes) -> bytes:
    return content
