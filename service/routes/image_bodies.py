"""Bodies that hold pictures, for whoever searches with them or embeds them.

One or more pictures as multipart, one inside JSON, or the region features of one as npy.
"""

from typing import Protocol, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel

from service.intake.image_queries import image_queries
from service.intake.uploads import (
    JSON,
    MULTIPART,
    NPY,
    media_type_of,
    read_json,
    read_multipart,
    read_regions,
    unsupported_media_type,
)
from service.routes.served import Served
from service.schemas import ImageQuery
from service.searches.queries import PictureQueries, Queries, RegionsQuery

__all__ = ["IMAGE_BODY_PROBLEMS", "read_image_queries"]

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
    media_type = media_type_of(request)
    if media_type == MULTIPART:
        beside, uploads = await read_multipart(request, params, served.bounds)
        return beside, PictureQueries(uploads, served.max_pixels)
    if media_type == JSON:
        asked = await read_json(request, whole, served.bounds)
        image = cast(HasImage, asked).image
        return asked, await image_queries(image, served.fetcher, max_pixels=served.max_pixels)
    if media_type == NPY:
        region_dim = served.serving.current.encoder.region_dim
        beside, regions = await read_regions(request, params, served.bounds, region_dim=region_dim)
        return beside, RegionsQuery(regions)
    raise unsupported_media_type(request, MULTIPART, JSON, NPY)
