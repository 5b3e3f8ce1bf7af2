"""Bodies that hold pictures, for whoever searches with them or embeds them.

One or more pictures as multipart, one inside JSON, or the region features of one as npy.
"""

from typing import Any, Protocol, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel

from service.intake.image_queries import image_queries
from service.intake.uploads import (
    media_type_of,
    read_json,
    read_multipart,
    read_regions,
    unsupported_media_type,
)
from service.routes.served import Served
from service.schemas import ImageQuery
from service.searches.queries import PictureQueries, Queries, RegionsQuery

__all__ = [
    "IMAGE_BODY_PROBLEMS",
    "TINY_GIF",
    "describe_image_body",
    "read_image_queries",
]

JSON = "application/json"
MULTIPART = "multipart/form-data"
NPY = "application/x-npy"
# 1 x 1, for the examples.
TINY_GIF = "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="

IMAGE_BODY_PROBLEMS = (
    "unreadable_image",
    "gallery_missing",
    "unknown_item",
    "upload_timeout",
    "body_too_large",
    "too_many_pixels",
    "too_many_queries",
    "unsupported_media_type",
    "invalid_request",
    "malformed_json",
    "malformed_multipart",
    "invalid_regions",
    "unsupported_input",
    "url_not_allowed",
    "url_unreachable",
    "overloaded",
    "deadline_exceeded",
)


class HasImage(Protocol):
    """A request with one picture in it."""

    @property
    def image(self) -> ImageQuery:
        """The picture."""


Params = TypeVar("Params", bound=BaseModel)


async def read_image_queries(
    request: Request, served: Served, *, whole: type[Params], params: type[Params]
) -> tuple[Params, Queries]:
    """Return what is asked for, and the pictures.

    Args:
        request: Not yet read.
        served: What answers.
        whole: Schema of a JSON body; it has a field `image`, and the fields of `params`.
        params: Schema of what stands beside the pictures of another body.

    Raises:
        Problem: The body is not what a schema says, or another kind of body.
    """
    match media_type_of(request):
        case "multipart/form-data":
            beside, uploads = await read_multipart(request, params, served.bounds)
            return beside, PictureQueries(uploads, served.max_pixels)
        case "application/json":
            asked = await read_json(request, whole, served.bounds)
            return asked, await image_queries(cast(HasImage, asked).image, served)
        case "application/x-npy":
            region_dim = served.serving.current.encoder.region_dim
            beside, regions = await read_regions(
                request, params, served.bounds, region_dim=region_dim
            )
            return beside, RegionsQuery(regions)
        case _:
            raise unsupported_media_type(request, MULTIPART, JSON, NPY)


def describe_image_body(
    whole: str, params: str, *, examples: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """Return the OpenAPI parts of a route that takes pictures.

    Args:
        whole: Name of the schema of a JSON body.
        params: Name of the schema of what stands beside the pictures of another body.
        examples: Of JSON bodies, by what they show.
    """
    return {
        "requestBody": {
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
                            "params": _schema(params),
                        },
                    },
                    "encoding": {"params": {"contentType": JSON}},
                },
                JSON: {
                    "schema": _schema(whole),
                    "examples": {name: {"value": value} for name, value in examples.items()},
                },
                NPY: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "region features of one image, (1 to 256 regions, width) "
                        "floats, as numpy.save writes them; for checkpoints trained on region "
                        "features",
                    }
                },
            },
        },
        "parameters": [
            {
                "name": "params",
                "in": "query",
                "description": f"the other fields of an {NPY} body",
                "content": {JSON: {"schema": _schema(params)}},
            }
        ],
    }


def _schema(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}
