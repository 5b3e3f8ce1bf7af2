"""Answers as a client reads them: the shapes of docs/openapi.json, under the same names.

They are written again here, for the service's own bring the index and the network along; a test
holds both together. Fields that a later service may add are ignored.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

__all__ = [
    "CaptionAnswer",
    "DuplicateAnswer",
    "EmbeddingAnswer",
    "ExplanationAnswer",
    "FacetAnswer",
    "GalleriesAnswer",
    "GalleryAnswer",
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


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ImageAnswer(_Answer):
    """A picture; `client.image(id)` and `client.thumbnail(id)` fetch it."""

    id: str
    url: str | None
    thumbnail_url: str | None
    width: int | None
    height: int | None


class WordAnswer(_Answer):
    """A column of an explanation: a word, word piece or mark of the caption."""

    text: str
    start: int
    end: int


class RegionAnswer(_Answer):
    """A row of an explanation: a cell of the picture; all None for region features."""

    row: int | None
    column: int | None
    box: tuple[float, float, float, float] | None


class ExplanationAnswer(_Answer):
    """What each region (row of `matrix`) with each word (column) adds to the score."""

    score: float
    matrix: list[list[float]]
    words: list[WordAnswer]
    regions: list[RegionAnswer]


class DuplicateAnswer(_Answer):
    """What was put into a hit because it is nearly the same."""

    id: str
    score: float
    similarity: float


class CaptionAnswer(_Answer):
    """A caption of a hit's image."""

    id: str
    caption: str | None
    score: float


class HitAnswer(_Answer):
    """One found item; `rank` 1 is the best of all, also on later pages."""

    rank: int
    id: str
    score: float
    relevance: float | None
    image: ImageAnswer | None
    caption: str | None
    image_id: str | None
    metadata: dict[str, Any] | None
    duplicates: list[DuplicateAnswer] | None
    captions: list[CaptionAnswer] | None
    explanation: ExplanationAnswer | None


class QueryAnswer(_Answer):
    """What one query found, best first."""

    query_index: int
    hits: list[HitAnswer]
    next_offset: int | None
    fits: bool | None
    warnings: list[str]


class IndexAnswer(_Answer):
    """What answered."""

    version: int
    checkpoint: str


class TimingAnswer(_Answer):
    """Where the time went in the service, in milliseconds."""

    queue: float
    decode: float
    encode: float
    search: float
    fetch: float
    total: float


class SearchAnswer(_Answer):
    """The answer of every search: one result for each query, in the order given."""

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

    type: str
    minimum: int | float | None
    maximum: int | float | None
    values: list[bool | int | float | str] | None


class GalleryAnswer(_Answer):
    """One gallery in numbers."""

    count: int
    kind: str
    recall_at_10: float | None
    columns: list[str]
    facets: dict[str, FacetAnswer]


class GalleriesAnswer(_Answer):
    """Both galleries; None where the index has none."""

    images: GalleryAnswer | None
    captions: GalleryAnswer | None


class InfoAnswer(_Answer):
    """What is served."""

    index: IndexAnswer
    galleries: GalleriesAnswer
    dim: int
    encoder: str


class EmbeddingAnswer(_Answer):
    """One embedding of length 1 for each sentence or picture, in the order given."""

    embeddings: list[list[float]]
    dim: int
    checkpoint: str
    warnings: list[str]


class ReloadAnswer(_Answer):
    """How a reload ended."""

    index: IndexAnswer
    previous_version: int | None
    changed: bool
