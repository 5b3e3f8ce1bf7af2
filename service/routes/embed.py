"""Embeddings themselves, for whoever searches or clusters elsewhere."""

from fastapi import APIRouter, Request

from service.answers import EmbeddingAnswer
from service.filled_answers import embedding_answer
from service.intake.uploads import read_json
from service.problems import describe_problems
from service.routes.described_bodies import TINY_GIF, image_body, json_body
from service.routes.image_bodies import IMAGE_BODY_PROBLEMS, read_image_queries
from service.routes.served import ServedHere
from service.schemas import ImageEmbedding, ImageEmbeddingParams, TextEmbedding
from service.searches.queries import CaptionQueries

__all__ = ["router"]

router = APIRouter(tags=["embed"])
IMAGE_BODY = image_body(
    "ImageEmbedding",
    "ImageEmbeddingParams",
    examples={
        "an uploaded picture": {"image": {"base64": TINY_GIF}},
        "an indexed image": {"image": {"id": "b2a3f2d9c1e04f7a8b6d"}},
    },
)


@router.post(
    "/embed/text",
    summary="Embed sentences",
    responses=describe_problems(
        "upload_timeout",
        "body_too_large",
        "too_many_queries",
        "unsupported_media_type",
        "invalid_request",
        "malformed_json",
        "overloaded",
        "deadline_exceeded",
    ),
    openapi_extra=json_body("TextEmbedding"),
)
async def embed_text(request: Request, served: ServedHere) -> EmbeddingAnswer:
    """Return the embedding of each of 1 to 32 sentences, as the service searches with it."""
    asked = await read_json(request, TextEmbedding, served.bounds)
    return embedding_answer(await served.retriever.embed(CaptionQueries(asked.query)))


@router.post(
    "/embed/image",
    summary="Embed pictures",
    responses=describe_problems(*IMAGE_BODY_PROBLEMS),
    openapi_extra=IMAGE_BODY,
)
async def embed_image(request: Request, served: ServedHere) -> EmbeddingAnswer:
    """Return the embedding of each of 1 to 32 pictures, as the service searches with it.

    They come as for a search with pictures; an indexed image gives the embedding that is stored.
    """
    _, queries = await read_image_queries(
        request, served, whole=ImageEmbedding, params=ImageEmbeddingParams
    )
    return embedding_answer(await served.retriever.embed(queries))
