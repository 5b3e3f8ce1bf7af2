"""Answers, as they go over the wire: always in their whole shape; what does not apply is null.

The service fills them (`filled_answers`), the client reads them (`client`): this file is all that
both need, so it loads nothing but pydantic. A client ignores fields that a later service adds.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

__all__ = [
    "COLUMN_TYPES",
    "MOST_VALUES",
    "CaptionAnswer",
    "DuplicateAnswer",
    "EmbeddingAnswer",
    "ExplanationAnswer",
    "FacetAnswer",
    "GalleriesAnswer",
    "GalleryAnswer",
    "HealthAnswer",
    "HitAnswer",
    "ImageAnswer",
    "IndexAnswer",
    "InfoAnswer",
    "ItemAnswer",
    "QueryAnswer",
    "RegionAnswer",
    "ReloadAnswer",
    "SearchAnswer",
    "TimingAnswer",
    "WordAnswer",
]

# As many as a list on a page can show.
MOST_VALUES = 50
# Those of the manifest, in words; a client takes any other that a later service may have.
COLUMN_TYPES = (
    "boolean", "integer", "number", "text",
    "boolean_list", "integer_list", "number_list", "text_list",
    "json",
)  # fmt: skip


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageAnswer(_Answer):
    """Where a picture is to be had; addresses are relative to the service's root."""

    id: str
    url: str | None = Field(description="null where only its region features were indexed")
    thumbnail_url: str | None
    width: int | None
    height: int | None


class WordAnswer(_Answer):
    """A column of an explanation: a word, word piece or mark of the caption."""

    text: str = Field(description="as the vocabulary has it; marks and unknown words by their name")
    start: int = Field(description="its first character in the caption, from 0, in code points")
    end: int = Field(description="behind its last character; equal to start for a mark")


class RegionAnswer(_Answer):
    """A row of an explanation: a cell of the picture; all null for region features."""

    row: int | None = Field(description="of the grid, from the top")
    column: int | None = Field(description="of the grid, from the left")
    box: tuple[float, float, float, float] | None = Field(
        description="left, top, right, bottom as fractions of the upright picture's sides"
    )


class ExplanationAnswer(_Answer):
    """What each region with each word adds to the score."""

    score: float = Field(description="the sum of the matrix: the hit's score to 1e-4")
    matrix: list[list[float]] = Field(description="one row for each region, one column a word")
    words: list[WordAnswer]
    regions: list[RegionAnswer]


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

    @property
    def hits(self) -> list[HitAnswer]:
        """The hits of the only query.

        Raises:
            ValueError: There were several queries; `results` has the hits of each.
        """
        if len(self.results) != 1:
            raise ValueError(f"{len(self.results)} queries were asked; see results[i].hits")
        return self.results[0].hits


class ItemAnswer(_Answer):
    """One item of a gallery."""

    id: str
    caption: str | None
    image: ImageAnswer | None
    image_id: str | None
    metadata: dict[str, Any]


class FacetAnswer(_Answer):
    """What the items have in a metadata column, for those who write a filter."""

    type: Annotated[str, WithJsonSchema({"type": "string", "enum": list(COLUMN_TYPES)})] = Field(
        description="of the values; json cannot be filtered"
    )
    minimum: int | float | None = Field(description="the least number, or element of a list")
    maximum: int | float | None = Field(description="the greatest")
    values: list[bool | int | float | str] | None = Field(
        description=f"all values in order, if they are at most {MOST_VALUES} texts or booleans"
    )


class GalleryAnswer(_Answer):
    """One gallery in numbers."""

    count: int
    kind: str = Field(description="kind of vector index")
    recall_at_10: float | None = Field(description="measured against exact search, 0 to 1")
    columns: list[str] = Field(description="metadata columns")
    facets: dict[str, FacetAnswer] = Field(description="what each of these columns holds")


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


class EmbeddingAnswer(_Answer):
    """Sentences or pictures in the space that this index is searched in."""

    embeddings: list[list[float]] = Field(description="one of length 1 for each, in order")
    dim: int
    checkpoint: str = Field(description="first 16 hex digits of the checkpoint's fingerprint")
    warnings: list[str] = Field(
        description="caption_truncated: a sentence was cut to what the model reads"
    )


class HealthAnswer(_Answer):
    """How the service is."""

    status: Literal["live", "ready"]
