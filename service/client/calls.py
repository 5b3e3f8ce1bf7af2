"""Every request of the API and how its answer is read; nothing is sent from here.

All but `reload` only read, so each may be asked again after a failure: the service has changed
nothing, and the second answer is what the first would have been. That the searches are POST is for
their bodies, not for any effect.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, Unpack
from urllib.parse import quote

import httpx
from pydantic import BaseModel, ValidationError

from service.answers import (
    EmbeddingAnswer,
    InfoAnswer,
    ItemAnswer,
    ReloadAnswer,
    SearchAnswer,
)
from service.client.failures import UnexpectedAnswerError
from service.client.pictures import ImageSource, body_of_pictures
from service.client.search_fields import Part, SearchFields, checked_fields, parts_of

__all__ = [
    "Call",
    "embed_image",
    "embed_text",
    "image",
    "info",
    "is_live",
    "is_ready",
    "item",
    "metrics",
    "openapi",
    "reload",
    "search",
    "search_image",
    "search_text",
    "thumbnail",
]

A = TypeVar("A")
M = TypeVar("M", bound=BaseModel)

# A reload opens and tries a whole index and network before it answers.
RELOAD_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Call(Generic[A]):
    """One request, and how its answer is read.

    Args:
        method: Of HTTP.
        path: Below the service's root.
        read: Makes the answer of a response whose status is in `statuses`.
        arguments: Of httpx, for the body.
        statuses: Which are an answer; all others are problems.
        if_unreachable: The answer where none comes; None: that is an error.
        is_repeatable: May be asked again even if the service may have begun with it.
        timeout_s: In place of the client's.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], A]
    arguments: dict[str, Any] = field(default_factory=dict)
    statuses: frozenset[int] = frozenset({200})
    if_unreachable: A | None = None
    is_repeatable: bool = True
    timeout_s: float | None = None


def search_text(query: str | Sequence[str], **fields: Unpack[SearchFields]) -> Call[SearchAnswer]:
    """Rank images (or, with `target`, captions) by how well they fit each sentence."""
    asked = query if isinstance(query, str) else list(query)
    body = {"query": asked, **checked_fields(fields)}
    return Call("POST", "/search/text", _reader(SearchAnswer), {"json": body})


def search_image(
    image: ImageSource | Sequence[ImageSource], **fields: Unpack[SearchFields]
) -> Call[SearchAnswer]:
    """Rank captions (or, with `target`, images) by how well they fit each picture.

    Args:
        image: A `Path`, the bytes of a picture file, a Pillow image or `Base64Image`, or a list of
            these; or one `IndexedImage`, `ImageUrl`, or numpy array (region, width) of region
            features. Files are read here and now.
        fields: What all searches have in common.
    """
    arguments = body_of_pictures(image, checked_fields(fields))
    return Call("POST", "/search/image", _reader(SearchAnswer), arguments)


def search(parts: Sequence[Part], **fields: Unpack[SearchFields]) -> Call[SearchAnswer]:
    """Rank images (or, with `target`, captions) by a weighted sum of sentences and pictures."""
    body = {"parts": parts_of(parts), **checked_fields(fields)}
    return Call("POST", "/search", _reader(SearchAnswer), {"json": body})


def embed_text(query: str | Sequence[str]) -> Call[EmbeddingAnswer]:
    """Return the embedding of each sentence."""
    body = {"query": query if isinstance(query, str) else list(query)}
    return Call("POST", "/embed/text", _reader(EmbeddingAnswer), {"json": body})


def embed_image(image: ImageSource | Sequence[ImageSource]) -> Call[EmbeddingAnswer]:
    """Return the embedding of each picture, given as for `search_image`."""
    return Call("POST", "/embed/image", _reader(EmbeddingAnswer), body_of_pictures(image, {}))


def item(gallery: Literal["images", "captions"], id: str) -> Call[ItemAnswer]:
    """Return one item of a gallery."""
    return Call("GET", f"/items/{_segment(gallery)}/{_segment(id)}", _reader(ItemAnswer))


def image(id: str) -> Call[bytes]:
    """Return an indexed picture, upright, as a JPEG file."""
    return Call("GET", f"/images/{_segment(id)}", _read_bytes)


def thumbnail(id: str) -> Call[bytes]:
    """Return a small copy of an indexed picture as a JPEG file."""
    return Call("GET", f"/images/{_segment(id)}/thumbnail", _read_bytes)


def info() -> Call[InfoAnswer]:
    """Return what is served."""
    return Call("GET", "/info", _reader(InfoAnswer))


def is_live() -> Call[bool]:
    """Return whether the service answers at all; asked once."""
    return Call(
        "GET", "/health/live", _is_success, statuses=frozenset({200, 503}), if_unreachable=False
    )


def is_ready() -> Call[bool]:
    """Return whether a query would be answered now; asked once."""
    return Call(
        "GET", "/health/ready", _is_success, statuses=frozenset({200, 503}), if_unreachable=False
    )


def metrics() -> Call[str]:
    """Return all metrics in Prometheus' text format."""
    return Call("GET", "/metrics", _read_text)


def openapi() -> Call[dict[str, Any]]:
    """Return the OpenAPI document of the service."""
    return Call("GET", "/openapi.json", _read_object)


def reload(*, index: str | None = None, checkpoint: str | None = None) -> Call[ReloadAnswer]:
    """Make the service serve the newest version, or another index; needs an admin key.

    Asked again only where the service refused before it began.

    Args:
        index: Folder on the machine of the service.
        checkpoint: Folder on the machine of the service, if not in the index.
    """
    given = {"index": index, "checkpoint": checkpoint}
    body = {name: value for name, value in given.items() if value is not None}
    return Call(
        "POST",
        "/admin/reload",
        _reader(ReloadAnswer),
        {"json": body},
        is_repeatable=False,
        timeout_s=RELOAD_TIMEOUT_S,
    )


def _segment(text: str) -> str:
    return quote(text, safe="")


def _reader(kind: type[M]) -> Callable[[httpx.Response], M]:
    def read(response: httpx.Response) -> M:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise _unexpected(response, kind.__name__) from error

    return read


def _read_object(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError as error:
        raise _unexpected(response, "JSON document") from error
    if not isinstance(document, dict):
        raise _unexpected(response, "JSON object")
    return document


def _unexpected(response: httpx.Response, wanted: str) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(
        f"{response.url} answered {response.status_code} with no {wanted}: {response.text[:80]!r}; "
        "is this the root of the service, and of a release that this client knows?"
    )


def _read_bytes(response: httpx.Response) -> bytes:
    return response.content


def _read_text(response: httpx.Response) -> str:
    return response.text


def _is_success(response: httpx.Response) -> bool:
    return response.status_code == 200
