"""Answers filled with what was found, embedded or looked up."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

from pydantic import BaseModel

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import ColumnType
from index_builder.lookups.column_store import ColumnSummary
from service.answers import (
    CaptionAnswer,
    DuplicateAnswer,
    EmbeddingAnswer,
    FacetAnswer,
    GalleriesAnswer,
    GalleryAnswer,
    HitAnswer,
    ImageAnswer,
    IndexAnswer,
    InfoAnswer,
    ItemAnswer,
    QueryAnswer,
    ReloadAnswer,
    SearchAnswer,
    TimingAnswer,
)
from service.explanation_answer import explanation_answer
from service.pairs.pair import ServedIndex, ServedPair
from service.pairs.serving import Reload
from service.schemas import Part
from service.searches.found_hits import FoundHit
from service.searches.retriever import EmbeddedQueries, Retrieval

__all__ = [
    "embedding_answer",
    "info_answer",
    "item_answer",
    "reload_answer",
    "search_answer",
]

A = TypeVar("A", bound=BaseModel)


def search_answer(retrieval: Retrieval, include: Sequence[Part]) -> SearchAnswer:
    """Return the answer of a whole search, with the parts of each hit that were asked for."""
    return SearchAnswer(
        results=[
            QueryAnswer(
                query_index=place,
                hits=[_hit_answer(found, include) for found in page.hits],
                next_offset=page.next_offset,
                fits=page.fits,
                warnings=page.warnings,
            )
            for place, page in enumerate(retrieval.pages)
        ],
        index=_index_answer(retrieval.served),
        timing_ms=TimingAnswer(**retrieval.timing_ms),
    )


def _hit_answer(found: FoundHit, include: Sequence[Part]) -> HitAnswer:
    item, picture, explanation = found.item, found.picture, found.explanation
    return HitAnswer(
        rank=found.hit.rank,
        id=found.hit.item_id,
        score=found.hit.score,
        relevance=found.relevance,
        image=_image_answer(picture) if picture and "image" in include else None,
        caption=item.caption if "caption" in include else None,
        image_id=picture.id if picture and picture is not item else None,
        metadata=item.metadata if "metadata" in include else None,
        duplicates=_same_fields(DuplicateAnswer, found.duplicates),
        captions=_same_fields(CaptionAnswer, found.captions),
        explanation=None if explanation is None else explanation_answer(explanation),
    )


def _image_answer(item: Item) -> ImageAnswer:
    url = None if item.path is None else f"/images/{item.id}"
    return ImageAnswer(
        id=item.id,
        url=url,
        thumbnail_url=url and f"{url}/thumbnail",
        width=item.width,
        height=item.height,
    )


def _same_fields(kind: type[A], found: Sequence[Any] | None) -> list[A] | None:
    """Return what has the same fields as its answer; None stays None."""
    return None if found is None else [kind(**asdict(one)) for one in found]


def _index_answer(served: ServedIndex) -> IndexAnswer:
    return IndexAnswer(version=served.version, checkpoint=served.fingerprint[:16])


def item_answer(item: Item, picture: Item | None) -> ItemAnswer:
    """Return the answer of an item and the picture that it is or names."""
    return ItemAnswer(
        id=item.id,
        caption=item.caption,
        image=_image_answer(picture) if picture else None,
        image_id=picture.id if picture and picture is not item else None,
        metadata=item.metadata,
    )


def info_answer(pair: ServedPair) -> InfoAnswer:
    """Return what is served; the first time it reads all columns, so not on the event loop."""
    galleries = {
        kind: None if gallery is None else _gallery_answer(gallery, pair.column_summaries[kind])
        for kind, gallery in pair.galleries.items()
    }
    return InfoAnswer(
        index=_index_answer(pair.served),
        galleries=GalleriesAnswer(images=galleries["images"], captions=galleries["captions"]),
        dim=pair.served.dim,
        encoder=pair.served.encoder,
    )


def _gallery_answer(gallery: Gallery, summaries: Mapping[str, ColumnSummary]) -> GalleryAnswer:
    manifest = gallery.manifest
    return GalleryAnswer(
        count=gallery.count,
        kind=manifest.index.kind,
        recall_at_10=manifest.index.recall_at_10,
        columns=list(manifest.columns),
        facets={
            name: _facet_answer(kind, summaries.get(name))
            for name, kind in manifest.columns.items()
        },
    )


def _facet_answer(column_type: ColumnType, summary: ColumnSummary | None) -> FacetAnswer:
    """Return the answer's view of a column; one of type json has no summary."""
    if summary is None:
        return FacetAnswer(type=column_type, minimum=None, maximum=None, values=None)
    values = None if summary.values is None else list(summary.values)
    return FacetAnswer(
        type=column_type, minimum=summary.minimum, maximum=summary.maximum, values=values
    )


def reload_answer(reload: Reload) -> ReloadAnswer:
    """Return the answer of a reload."""
    return ReloadAnswer(
        index=IndexAnswer(version=reload.version, checkpoint=reload.fingerprint[:16]),
        previous_version=reload.previous_version,
        changed=reload.is_changed,
    )


def embedding_answer(found: EmbeddedQueries) -> EmbeddingAnswer:
    """Return the answer of all embedded queries of a request, each warning once."""
    embedded, served = found.embedded, found.served
    codes = [code for warnings in embedded.warnings for code in warnings]
    return EmbeddingAnswer(
        embeddings=[embedding.tolist() for embedding in embedded.embeddings],
        dim=served.dim,
        checkpoint=served.fingerprint[:16],
        warnings=list(dict.fromkeys(codes)),
    )
