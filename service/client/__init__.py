"""A typed client of the service, blocking or with asyncio; needs httpx and pydantic alone.

    from service.client import SearchClient

    with SearchClient("http://127.0.0.1:8000") as client:
        for hit in client.search_text("a red circle", limit=5).hits:
            print(hit.rank, hit.score, hit.id)

`calls` says each request and how to read its answer, `exchange` when to ask again; neither sends
anything, so `SearchClient` and `AsyncSearchClient` differ in the sending alone.
"""

from model.retries import Retries
from service.answers import (
    EmbeddingAnswer,
    HitAnswer,
    InfoAnswer,
    ItemAnswer,
    QueryAnswer,
    ReloadAnswer,
    SearchAnswer,
)
from service.client.async_search_client import AsyncSearchClient
from service.client.failures import (
    ClientError,
    ProblemItem,
    ServiceProblem,
    ServiceUnreachableError,
    UnexpectedAnswerError,
)
from service.client.pictures import Base64Image, ImageUrl, IndexedImage
from service.client.search_client import SearchClient
from service.client.search_fields import Part

__all__ = [
    "AsyncSearchClient",
    "Base64Image",
    "ClientError",
    "EmbeddingAnswer",
    "HitAnswer",
    "ImageUrl",
    "IndexedImage",
    "InfoAnswer",
    "ItemAnswer",
    "Part",
    "ProblemItem",
    "QueryAnswer",
    "ReloadAnswer",
    "Retries",
    "SearchAnswer",
    "SearchClient",
    "ServiceProblem",
    "ServiceUnreachableError",
    "UnexpectedAnswerError",
]
