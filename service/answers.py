"""Answers, as they go over the wire: always in their whole shape; what does not apply is null."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import ColumnType
from index_builder.lookups.column_store import ColumnSummary
from service.explanation_answer import ExplanationAnswer
from service.pairs.pair import ServedIndex
from service.pairs.serving import Reload
from service.schemas import Part
from service.searches.found_hits import FoundHit
from service.searches.retriever import EmbeddedQueries, Retrieval

__all__ = [
    "EmbeddingAnswer",
    "FacetAnswer",
    "GalleriesAnswer",
    "GalleryAnswer",
    "HealthAnswer",
    "IndexAnswer",
    "InfoAnswer",
    "ItemAnswer",
    "ReloadAnswer",
    "SearchAnswer",
]

# As many as a list on a page can show.
MOST_VALUES = 50


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


A = TypeVar("A", bound=_Answer)


def _answers(kind: type[A], found: Sequence[Any] | None) -> list[A] | None:
    """Return what has the same fields as its answer; None stays None."""
    return None if found is None else [kind(**asdict(one)) for one in found]


class ImageAnswer(_Answer):
    """Where a picture is to be had; addresses are relative to the service's root."""

    id: str
    url: str | None = Field(description="null where only its region features were indexed")
    thumbnail_url: str | None
    width: int | None
    height: int | None

    @classmethod
    def of(cls, item: Item) -> Self:
        """Return the answer's picture of an item of the images gallery."""
        url = None if item.path is None else f"/images/{item.id}"
        return cls(
            id=item.id,
            url=url,
            thumbnail_url=url and f"{url}/thumbnail",
            width=item.width,
            height=item.height,
        )


class DuplicateAnswer(_Answer):
    """What was put into a hit because it is nearly the same."""

    id: str
    score: float = Field(description="cosine of the query with it, -1 to 1")
    similarity: float = Field(description="cosine of the hit with it")


class CaptionAnswer(_Answer):
    """A caption of a hit's image."""

    id: str
    caption: str | None
    score: float = Field(description="cosine of the query with it, -1 to 1")


class HitAnswer(_Answer):
    """One found item."""

    rank: int = Field(description="1 is the best of all, also on later pages")
    id: str
    score: float = Field(description="cosine of the query with the item, -1 to 1")
    relevance: float | None = Field(
        description="how likely it belongs to the query, 0 to 1; null where the index cannot tell"
    )
    image: ImageAnswer | None = Field(description="the picture; of a caption: the one it names")
    caption: str | None
    image_id: str | None = Field(description="of a caption: the id of the picture it names")
    metadata: dict[str, Any] | None
    duplicates: list[DuplicateAnswer] | None = Field(
        description="with fold_duplicates_above: what was put into this hit, by rank"
    )
    captions: list[CaptionAnswer] | None = Field(
        description="with group_by: other captions of the image, best first, at most 10"
    )
    explanation: ExplanationAnswer | None = Field(
        description="what each region with each word adds to the score, if `explain` asked for it"
    )

    @classmethod
    def of(cls, found: FoundHit, include: list[Part]) -> Self:
        """Return the answer's hit, with the parts that were asked for."""
        item, picture = found.item, found.picture
        return cls(
            rank=found.hit.rank,
            id=found.hit.item_id,
            score=found.hit.score,
            relevance=found.relevance,
            image=ImageAnswer.of(picture) if picture and "image" in include else None,
            caption=item.caption if "caption" in include else None,
            image_id=picture.id if picture and picture is not item else None,
            metadata=item.metadata if "metadata" in include else None,
            duplicates=_answers(DuplicateAnswer, found.duplicates),
            captions=_answers(CaptionAnswer, found.captions),
            explanation=found.explanation and ExplanationAnswer.of(found.explanation),
        )


class QueryAnswer(_Answer):
    """What one query found, best first."""

    query_index: int
    hits: list[HitAnswer]
    next_offset: int | None = Field(description="the next page's offset; null on the last page")
    fits: bool | None = Field(
        description="false: the query is unlike what the index holds, so probably nothing fits; "
        "null where the index cannot tell"
    )
    warnings: list[str] = Field(
        description="caption_truncated: cut to what the model reads; of explanations: "
        "explanation_limited: only the first 10 hits of a request have one; "
        "explanation_source_gone: a picture could not be read again; "
        "explanation_inexact: one sums to its score to less than 1e-4"
    )


class IndexAnswer(_Answer):
    """What answered: ask for the same `version` to page through one ranking."""

    version: int
    checkpoint: str = Field(description="first 16 hex digits of the checkpoint's fingerprint")

    @classmethod
    def of(cls, served: ServedIndex) -> Self:
        """Return the answer's name of the served index."""
        return cls(version=served.version, checkpoint=served.fingerprint[:16])


class TimingAnswer(_Answer):
    """Where the time went, in milliseconds."""

    queue: float
    decode: float
    encode: float
    search: float
    fetch: float
    total: float


class SearchAnswer(_Answer):
    """The answer of every search: one entry for each query, in the order given."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "results": [
                        {
                            "query_index": 0,
                            "hits": [
                                {
                                    "rank": 1,
                                    "id": "b2a3f2d9c1e04f7a8b6d",
                                    "score": 0.7421,
                                    "relevance": 0.6172,
                                    "image": {
                                        "id": "b2a3f2d9c1e04f7a8b6d",
                                        "url": "/images/b2a3f2d9c1e04f7a8b6d",
                                        "thumbnail_url": "/images/b2a3f2d9c1e04f7a8b6d/thumbnail",
                                        "width": 192,
                                        "height": 192,
                                    },
                                    "caption": None,
                                    "image_id": None,
                                    "metadata": {
                                        "objects": ["red circle"],
                                        "object_count": 1,
                                        "background": "meadow",
                                    },
                                    "duplicates": None,
                                    "captions": None,
                                    "explanation": None,
                                }
                            ],
                            "next_offset": 1,
                            "fits": True,
                            "warnings": [],
                        }
                    ],
                    "index": {"version": 1, "checkpoint": "3f2a9c51d07be846"},
                    "timing_ms": {
                        "queue": 0.1,
                        "decode": 0.0,
                        "encode": 9.2,
                        "search": 0.4,
                        "fetch": 0.3,
                        "total": 10.3,
                    },
                }
            ]
        }
    )

    results: list[QueryAnswer]
    index: IndexAnswer
    timing_ms: TimingAnswer

    @classmethod
    def of(cls, retrieval: Retrieval, include: list[Part]) -> Self:
        """Return the answer of a whole request."""
        return cls(
            results=[
                QueryAnswer(
                    query_index=place,
                    hits=[HitAnswer.of(found, include) for found in page.hits],
                    next_offset=page.next_offset,
                    fits=page.fits,
                    warnings=page.warnings,
                )
                for place, page in enumerate(retrieval.pages)
            ],
            index=IndexAnswer.of(retrieval.served),
            timing_ms=TimingAnswer(**retrieval.timing_ms),
        )


class ItemAnswer(_Answer):
    """One item of a gallery."""

    id: str
    caption: str | None
    image: ImageAnswer | None
    image_id: str | None
    metadata: dict[str, Any]

    @classmethod
    def of(cls, item: Item, picture: Item | None) -> Self:
        """Return the answer of an item and the picture that it is or names."""
        return cls(
            id=item.id,
            caption=item.caption,
            image=ImageAnswer.of(picture) if picture else None,
            image_id=picture.id if picture and picture is not item else None,
            metadata=item.metadata,
        )


class FacetAnswer(_Answer):
    """What the items have in a metadata column, for those who write a filter."""

    type: ColumnType = Field(description="of the values; json cannot be filtered")
    minimum: int | float | None = Field(description="the least number, or element of a list")
    maximum: int | float | None = Field(description="the greatest")
    values: list[bool | int | float | str] | None = Field(
        description=f"all values in order, if they are at most {MOST_VALUES} texts or booleans"
    )

    @classmethod
    def of(cls, column_type: ColumnType, summary: ColumnSummary | None) -> Self:
        """Return the answer's view of a column; one of type json has no summary."""
        if summary is None:
            return cls(type=column_type, minimum=None, maximum=None, values=None)
        values = None if summary.values is None else list(summary.values)
        return cls(
            type=column_type, minimum=summary.minimum, maximum=summary.maximum, values=values
        )


class GalleryAnswer(_Answer):
    """One gallery in numbers."""

    count: int
    kind: str = Field(description="kind of vector index")
    recall_at_10: float | None = Field(description="measured against exact search, 0 to 1")
    columns: list[str] = Field(description="metadata columns")
    facets: dict[str, FacetAnswer] = Field(description="what each of these columns holds")

    @classmethod
    def of(cls, gallery: Gallery) -> Self:
        """Return the answer's view of a gallery; reads its columns, so not on the event loop."""
        manifest = gallery.manifest
        summaries = gallery.column_summaries(most_values=MOST_VALUES)
        return cls(
            count=gallery.count,
            kind=manifest.index.kind,
            recall_at_10=manifest.index.recall_at_10,
            columns=list(manifest.columns),
            facets={
                name: FacetAnswer.of(kind, summaries.get(name))
                for name, kind in manifest.columns.items()
            },
        )


class GalleriesAnswer(_Answer):
    """Both galleries; null where the index has none."""

    images: GalleryAnswer | None
    captions: GalleryAnswer | None


class InfoAnswer(_Answer):
    """What is served."""

    index: IndexAnswer
    galleries: GalleriesAnswer
    dim: int
    encoder: str


class ReloadAnswer(_Answer):
    """How a reload ended."""

    index: IndexAnswer
    previous_version: int | None = Field(
        description="still answers those who ask for it by `version`"
    )
    changed: bool = Field(description="false if the very same version was served already")

    @classmethod
    def of(cls, reload: Reload) -> Self:
        """Return the answer of a reload."""
        return cls(
            index=IndexAnswer(version=reload.version, checkpoint=reload.fingerprint[:16]),
            previous_version=reload.previous_version,
            changed=reload.is_changed,
        )


class EmbeddingAnswer(_Answer):
    """Sentences or pictures in the space that this index is searched in."""

    embeddings: list[list[float]] = Field(description="one of length 1 for each, in order")
    dim: int
    checkpoint: str = Field(description="first 16 hex digits of the checkpoint's fingerprint")
    warnings: list[str] = Field(
        description="caption_truncated: a sentence was cut to what the model reads"
    )

    @classmethod
    def of(cls, found: EmbeddedQueries) -> Self:
        """Return the answer of a whole request, each warning once."""
        embedded, served = found.embedded, found.served
        codes = [code for warnings in embedded.warnings for code in warnings]
        return cls(
            embeddings=[embedding.tolist() for embedding in embedded.embeddings],
            dim=served.dim,
            checkpoint=served.fingerprint[:16],
            warnings=list(dict.fromkeys(codes)),
        )


class HealthAnswer(_Answer):
    """How the service is."""

    status: Literal["live", "ready"]
