"""How well an index retrieves, as its version records it: recalls, relevance and hubs.

What they mean and how they are measured: `retrieval_quality.py`.
"""

from pydantic import Field

from index_builder.galleries.manifest import Record
from index_builder.galleries.relevance import Relevance

__all__ = ["DirectionQuality", "Hub", "HubReport", "Recalls", "RetrievalQuality"]


class Recalls(Record):
    """Recalls of one direction, in percent."""

    recall_at_1: float = Field(ge=0, le=100)
    recall_at_5: float = Field(ge=0, le=100)
    recall_at_10: float = Field(ge=0, le=100)


class DirectionQuality(Record):
    """One direction: through the index, and by exact search, of the same queries."""

    query_count: int = Field(ge=1)
    through_index: Recalls
    exact: Recalls
    relevance: Relevance | None = Field(
        default=None, description="of the first hits; null where there are too few to tell"
    )


class Hub(Record):
    """An item that many queries find."""

    id: str
    occurrences: int = Field(ge=0, description="queries that have it among their first k hits")


class HubReport(Record):
    """How the first k hits of all queries spread over a gallery."""

    k: int = Field(ge=1)
    query_count: int = Field(ge=1)
    skewness: float = Field(description="of the k-occurrences; 0 = all alike")
    never_found_fraction: float = Field(ge=0, le=1, description="share of anti-hubs")
    hubs: list[Hub] = Field(description="the items found most often, most often first")


class RetrievalQuality(Record):
    """Both directions, and the hubs of both galleries."""

    image_to_text: DirectionQuality
    text_to_image: DirectionQuality
    image_hubs: HubReport = Field(description="among images, found by captions")
    caption_hubs: HubReport = Field(description="among captions, found by images")
