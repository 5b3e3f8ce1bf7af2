"""Items and their pictures, by id."""

import hashlib
from typing import Any, get_args

from fastapi import APIRouter, Request, Response

from index_builder.galleries.manifest import GalleryKind
from service.answers import ItemAnswer
from service.errors import MissingGalleryError
from service.filled_answers import item_answer
from service.problems import describe_problems
from service.routes.served import ServedHere

__all__ = ["router"]

router = APIRouter(tags=["items"])
JPEG = "image/jpeg"
# Pictures may be private and may be replaced by the next version: kept by the browser, not long.
CACHE_CONTROL = "private, max-age=300"
BUSY = ("overloaded", "deadline_exceeded")
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the picture", "content": {JPEG: {"schema": {"type": "string"}}}},
    304: {"description": "unchanged since the ETag of If-None-Match"},
}


@router.get(
    "/images/{id}",
    summary="A picture",
    response_class=Response,
    responses={
        **PICTURE,
        **describe_problems("gallery_missing", "unknown_item", "no_picture", "source_gone", *BUSY),
    },
)
async def read_image(id: str, request: Request, served: ServedHere) -> Response:
    """Return an indexed picture, upright, as a JPEG of its pixels alone: no EXIF, no place.

    Of a picture in a tar shard it is the copy in the index, its longest side at most 1,024 pixels.
    """
    found = await served.items.picture(id)
    # What is shown is the picture that was indexed, or nothing: its hash says which it is.
    etag = _etag(f"{id} {found.item.content_hash}".encode())
    if request.headers.get("if-none-match") == etag:
        return _unchanged(etag)
    return _picture(await served.items.jpeg_of(found), etag)


@router.get(
    "/images/{id}/thumbnail",
    summary="A small copy of a picture",
    response_class=Response,
    responses={
        **PICTURE,
        **describe_problems("gallery_missing", "unknown_item", "no_picture", *BUSY),
    },
)
async def read_thumbnail(id: str, request: Request, served: ServedHere) -> Response:
    """Return an indexed picture, its longest side at most 256 pixels; it needs no source file."""
    return _stored_picture(await served.items.thumbnail(id), request)


@router.get(
    "/items/{gallery}/{id}",
    summary="An item",
    responses=describe_problems("gallery_missing", "unknown_item", *BUSY),
)
async def read_item(gallery: str, id: str, served: ServedHere) -> ItemAnswer:
    """Return what is known about an item of the gallery `images` or `captions`."""
    for kind in get_args(GalleryKind):
        if gallery == kind:
            return item_answer(*await served.items.find_item(kind, id))
    raise MissingGalleryError("there is no such gallery; galleries are images and captions")


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def _stored_picture(content: bytes, request: Request) -> Response:
    etag = _etag(content)
    if request.headers.get("if-none-match") == etag:
        return _unchanged(etag)
    return _picture(content, etag)


def _picture(content: bytes, etag: str) -> Response:
    headers = {"ETag": etag, "Cache-Control": CACHE_CONTROL}
    return Response(content, media_type=JPEG, headers=headers)


def _unchanged(etag: str) -> Response:
    return Response(status_code=304, headers={"ETag": etag, "Cache-Control": CACHE_CONTROL})
