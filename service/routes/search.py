"""Searches: a sentence finds images, a picture finds captions, and any other pairing."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, Request

from index_builder.galleries.manifest import GalleryKind
from service.answers import SearchAnswer
from service.filled_answers import search_answer
from service.intake.image_queries import image_queries
from service.intake.uploads import JSON, media_type_of, read_json
from service.problems import describe_problems
from service.routes.described_bodies import TINY_GIF, image_body, json_body
from service.routes.image_bodies import IMAGE_BODY_PROBLEMS, read_image_queries
from service.routes.served import Served, ServedHere
from service.schemas import (
    ImageSearch,
    ImageSearchParams,
    PartsSearch,
    SearchFields,
    SearchPart,
    TextSearch,
)
from service.searches.arranging import Arrangement
from service.searches.queries import CaptionQueries, PictureQueries, Queries
from service.searches.retriever import Page
from service.searches.weighted_queries import WeightedParts, WeightedQuery

__all__ = ["router"]

FILTER_OF_PARAMS = "params.filter"

router = APIRouter(tags=["search"])
SEARCH_PROBLEMS = describe_problems(
    "gallery_missing",
    "upload_timeout",
    "stale_version",
    "body_too_large",
    "too_many_queries",
    "unsupported_media_type",
    "invalid_request",
    "malformed_json",
    "cannot_explain",
    "overloaded",
    "deadline_exceeded",
)
IMAGE_SEARCH_PROBLEMS = describe_problems(
    *IMAGE_BODY_PROBLEMS, "stale_version", "no_words", "cannot_explain"
)
PARTS_SEARCH_PROBLEMS = describe_problems(
    "unreadable_image",
    "gallery_missing",
    "unknown_item",
    "upload_timeout",
    "stale_version",
    "body_too_large",
    "too_many_pixels",
    "unsupported_media_type",
    "invalid_request",
    "malformed_json",
    "cannot_explain",
    "unsupported_input",
    "url_not_allowed",
    "url_unreachable",
    "no_words",
    "parts_cancel",
    "overloaded",
    "deadline_exceeded",
)


TEXT_BODY = json_body(
    "TextSearch",
    examples={
        "one sentence": {"query": "a red circle"},
        "several, the second page": {
            "query": ["a red circle", "two blue squares"],
            "limit": 5,
            "offset": 5,
        },
        "captions like this one": {"query": "a red circle", "target": "captions"},
    },
)


@router.post(
    "/search/text",
    summary="Search with sentences",
    responses=SEARCH_PROBLEMS,
    openapi_extra=TEXT_BODY,
)
async def search_text(request: Request, served: ServedHere) -> SearchAnswer:
    """Rank the images (or captions) by how well they fit each of 1 to 32 sentences."""
    asked = await read_json(request, TextSearch, served.bounds)
    return await _search(served, "text", CaptionQueries(asked.query), asked, asked.target)


PARTS_BODY = json_body(
    "PartsSearch",
    examples={
        "a picture, but with people and not at night": {
            "parts": [
                {"image": {"id": "b2a3f2d9c1e04f7a8b6d"}},
                {"text": "people", "weight": 0.5},
                {"text": "at night", "weight": -0.5},
            ]
        },
        "two sentences": {"parts": [{"text": "a red circle"}, {"text": "a blue square"}]},
    },
)
IMAGE_SEARCH_BODY = image_body(
    "ImageSearch",
    "ImageSearchParams",
    examples={
        "captions of an indexed image": {"image": {"id": "b2a3f2d9c1e04f7a8b6d"}, "limit": 5},
        "images like an uploaded one": {"image": {"base64": TINY_GIF}, "target": "images"},
    },
)


@router.post(
    "/search/image",
    summary="Search with pictures",
    responses=IMAGE_SEARCH_PROBLEMS,
    openapi_extra=IMAGE_SEARCH_BODY,
)
async def search_image(request: Request, served: ServedHere) -> SearchAnswer:
    """Rank the captions (or images) by how well they fit each of 1 to 32 pictures.

    The pictures come as `file` parts, the other fields as one JSON part `params`; or one picture
    comes inside a JSON body, as base64, as the id of an indexed image, or as a URL where the
    service fetches from its host. Where the checkpoint was trained on region features, those of one
    image come as an npy body, the other fields as JSON in the query parameter `params`.
    """
    asked, queries = await read_image_queries(
        request, served, whole=ImageSearch, params=ImageSearchParams
    )
    is_whole = media_type_of(request) == JSON
    place = "filter" if is_whole else FILTER_OF_PARAMS
    return await _search(served, "image", queries, asked, asked.target, filter_place=place)


@router.post(
    "/search",
    summary="Search with sentences and pictures together",
    responses=PARTS_SEARCH_PROBLEMS,
    openapi_extra=PARTS_BODY,
)
async def search_parts(request: Request, served: ServedHere) -> SearchAnswer:
    """Rank the images (or captions) by how well they fit the weighted sum of 1 to 32 parts.

    Each part is a sentence or a picture; its embedding, of length 1, counts by its weight, and the
    sum is brought to length 1. A weight below 0 leads away from its part.
    """
    asked = await read_json(request, PartsSearch, served.bounds)
    query = await _weighted_query(asked.parts, served)
    return await _search(served, "parts", query, asked, asked.target)


async def _weighted_query(parts: Sequence[SearchPart], served: Served) -> WeightedQuery:
    """Return the parts as one query; sentences are encoded together, and so are pictures."""
    sentences = [(part.text, part.weight) for part in parts if part.text is not None]
    images = [(place, part) for place, part in enumerate(parts) if part.image is not None]
    # At the same time: each may have to be fetched from a stranger's server.
    queries = await asyncio.gather(
        *(
            image_queries(
                part.image,
                served.fetcher,
                max_pixels=served.max_pixels,
                where=f"parts[{place}].image",
            )
            for place, part in images
            if part.image is not None
        )
    )
    uploads, groups = [], []
    for (_, part), query in zip(images, queries, strict=True):
        if isinstance(query, PictureQueries):
            uploads += [(upload, part.weight) for upload in query.uploads]
        else:
            groups.append(WeightedParts(query, [part.weight]))
    if uploads:
        pictures = PictureQueries([upload for upload, _ in uploads], served.max_pixels)
        groups.append(WeightedParts(pictures, [weight for _, weight in uploads]))
    if sentences:
        captions = CaptionQueries([text for text, _ in sentences])
        groups.append(WeightedParts(captions, [weight for _, weight in sentences]))
    return WeightedQuery(groups)


async def _search(
    served: Served,
    kind: str,
    queries: Queries,
    asked: SearchFields,
    target: GalleryKind,
    *,
    filter_place: str = "filter",
) -> SearchAnswer:
    page = Page(
        target=target,
        limit=asked.limit,
        offset=asked.offset,
        version=asked.version,
        arrangement=Arrangement(
            is_grouped=asked.group_by == "image",
            fold_above=asked.fold_duplicates_above,
            is_hybrid=asked.mode == "hybrid",
        ),
        explain=asked.explain,
        filter=asked.filter,
        filter_place=filter_place,
    )
    retrieval = await served.retriever.search(queries, page)
    served.metrics.count_queries(kind, len(retrieval.pages), retrieval.timing_ms)
    return search_answer(retrieval, asked.include)
