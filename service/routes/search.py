"""Searches: a sentence finds images, a picture finds captions, and any other pairing."""

from typing import Any

from fastapi import APIRouter, Request

from index_builder.manifest import GalleryKind
from service.answers import SearchAnswer
from service.problems import describe_problems
from service.queries import (
    CaptionQueries,
    IndexedImageQuery,
    PictureQueries,
    Queries,
    RegionsQuery,
    Upload,
)
from service.retriever import Page
from service.routes.served import Served, ServedHere
from service.schemas import ImageSearch, SearchFields, TextSearch
from service.uploads import (
    media_type_of,
    read_json,
    read_multipart,
    read_regions,
    unsupported_media_type,
)

__all__ = ["router"]

JSON = "application/json"
MULTIPART = "multipart/form-data"
NPY = "application/x-npy"

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
    "unreadable_image",
    "gallery_missing",
    "unknown_item",
    "upload_timeout",
    "stale_version",
    "body_too_large",
    "too_many_pixels",
    "too_many_queries",
    "unsupported_media_type",
    "invalid_request",
    "malformed_json",
    "cannot_explain",
    "malformed_multipart",
    "invalid_regions",
    "unsupported_input",
    "overloaded",
    "deadline_exceeded",
)


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


TEXT_BODY = {
    "required": True,
    "content": {
        JSON: {
            "schema": _schema("TextSearch"),
            "examples": {
                "one sentence": {"value": {"query": "a red circle"}},
                "several, the second page": {
                    "value": {
                        "query": ["a red circle", "two blue squares"],
                        "limit": 5,
                        "offset": 5,
                    }
                },
                "captions like this one": {
                    "value": {"query": "a red circle", "target": "captions"}
                },
            },
        }
    },
}
IMAGE_BODY = {
    "required": True,
    "content": {
        MULTIPART: {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 32,
                        "items": {"type": "string", "format": "binary"},
                        "description": "JPEG, PNG, WebP, GIF, BMP or TIFF",
                    },
                    "params": _schema("ImageSearchParams"),
                },
            },
            "encoding": {"params": {"contentType": JSON}},
        },
        JSON: {
            "schema": _schema("ImageSearch"),
            "examples": {
                "captions of an indexed image": {
                    "value": {"image": {"id": "b2a3f2d9c1e04f7a8b6d"}, "limit": 5}
                },
                "images like an uploaded one": {
                    "value": {
                        "image": {"base64": "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="},
                        "target": "images",
                    }
                },
            },
        },
        NPY: {
            "schema": {
                "type": "string",
                "format": "binary",
                "description": "region features of one image, (1 to 256 regions, width) floats, "
                "as numpy.save writes them; for checkpoints trained on region features",
            }
        },
    },
}
PARAMS_OF_NPY = {
    "name": "params",
    "in": "query",
    "description": f"the other fields of an {NPY} body",
    "content": {JSON: {"schema": _schema("ImageSearchParams")}},
}


@router.post(
    "/search/text",
    summary="Search with sentences",
    responses=SEARCH_PROBLEMS,
    openapi_extra={"requestBody": TEXT_BODY},
)
async def search_text(request: Request, served: ServedHere) -> SearchAnswer:
    """Rank the images (or captions) by how well they fit each of 1 to 32 sentences."""
    if media_type_of(request) != JSON:
        raise unsupported_media_type(request, JSON)
    asked = await read_json(request, TextSearch, served.bounds)
    return await _search(served, "text", CaptionQueries(asked.query), asked, asked.target)


@router.post(
    "/search/image",
    summary="Search with pictures",
    responses=IMAGE_SEARCH_PROBLEMS,
    openapi_extra={"requestBody": IMAGE_BODY, "parameters": [PARAMS_OF_NPY]},
)
async def search_image(request: Request, served: ServedHere) -> SearchAnswer:
    """Rank the captions (or images) by how well they fit each of 1 to 32 pictures.

    The pictures come as `file` parts, the other fields as one JSON part `params`; or one picture
    comes inside a JSON body, as base64 or as the id of an indexed image. Where the checkpoint was
    trained on region features, those of one image come as an npy body, the other fields as JSON in
    the query parameter `params`.
    """
    match media_type_of(request):
        case "multipart/form-data":
            params, uploads = await read_multipart(request, served.bounds)
            queries: Queries = PictureQueries(uploads, served.max_pixels)
            return await _search(served, "image", queries, params, params.target)
        case "application/json":
            asked = await read_json(request, ImageSearch, served.bounds)
            if asked.image.id is not None:
                queries = IndexedImageQuery(asked.image.id)
            else:
                upload = Upload("image.base64", asked.image.base64 or b"")
                queries = PictureQueries([upload], served.max_pixels)
            return await _search(served, "image", queries, asked, asked.target)
        case "application/x-npy":
            region_dim = served.serving.current.encoder.region_dim
            params, regions = await read_regions(request, served.bounds, region_dim=region_dim)
            return await _search(served, "image", RegionsQuery(regions), params, params.target)
        case _:
            raise unsupported_media_type(request, MULTIPART, JSON, NPY)


async def _search(
    served: Served, kind: str, queries: Queries, asked: SearchFields, target: GalleryKind
) -> SearchAnswer:
    page = Page(
        target=target,
        limit=asked.limit,
        offset=asked.offset,
        version=asked.version,
        explain=asked.explain,
    )
    retrieval = await served.retriever.search(queries, page)
    served.metrics.count_queries(kind, len(retrieval.pages), retrieval.timing_ms)
    return SearchAnswer.of(retrieval, asked.include)
