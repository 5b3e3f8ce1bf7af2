"""Request bodies, read within bounds: nothing is kept that is not allowed to be there.

- The body is counted while it arrives and refused at the first byte too many; a declared length
  is believed only when it is too large.
- Uploads stay in memory: parts of a multipart body go straight into byte arrays, never to a file.
- A part that does not belong, or one picture too many, ends the reading.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from model.errors import RegionFeatureError
from model.inputs.region_query import read_query_regions
from service.problems import Problem, ProblemItem, invalid_request
from service.schemas import MAX_QUERIES
from service.searches.queries import Upload

__all__ = [
    "JSON",
    "MULTIPART",
    "NPY",
    "BodyBounds",
    "media_type_of",
    "read_json",
    "read_multipart",
    "read_regions",
    "unsupported_media_type",
]

JSON = "application/json"
MULTIPART = "multipart/form-data"
NPY = "application/x-npy"
PICTURE_PART = "file"
PARAMS_PART = "params"

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class BodyBounds:
    """How much may be sent, and how slowly."""

    max_bytes: int
    timeout_ms: int


def media_type_of(request: Request) -> str:
    """Return the media type of the body, lower case, without parameters; empty if not said."""
    media_type, _ = parse_options_header(request.headers.get("content-type"))
    return media_type.decode("latin-1")


def unsupported_media_type(request: Request, *accepted: str) -> Problem:
    """Return the problem of a body of another type than those accepted."""
    found = media_type_of(request) or "none"
    return Problem(
        "unsupported_media_type",
        f"the content type is {found[:100]}; send {' or '.join(accepted)}",
        headers={"Accept-Post": ", ".join(accepted)},
    )


async def read_json(request: Request, schema: type[S], bounds: BodyBounds) -> S:
    """Return the JSON body of `request` as a `schema`.

    Raises:
        Problem: Another content type, too large, too slow, no JSON, or not what the schema says.
    """
    if media_type_of(request) != JSON:
        raise unsupported_media_type(request, JSON)
    body = bytearray()
    await _receive(request, bounds, body.extend)
    return _validated(schema, body)


async def read_multipart(
    request: Request, schema: type[S], bounds: BodyBounds
) -> tuple[S, list[Upload]]:
    """Return the parameters, as a `schema`, and the pictures of a multipart body.

    Raises:
        Problem: Too large, too slow, too many pictures, an unknown part, or no picture at all.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    parts = _Parts()
    parser = _parser_into(parts, options.get(b"boundary", b""))
    await _receive(request, bounds, partial(_write_piece, parser))
    parts.check_whole()
    if not parts.pictures:
        raise _refused(PICTURE_PART, "missing_field", "send at least one picture as a part 'file'")
    params = _validated(schema, b"{}" if parts.params is None else parts.params, inside=PARAMS_PART)
    uploads = [
        Upload(where=f"{PICTURE_PART}[{place}]", content=bytes(content))
        for place, content in enumerate(parts.pictures)
    ]
    return params, uploads


async def read_regions(
    request: Request, schema: type[S], bounds: BodyBounds, *, region_dim: int
) -> tuple[S, np.ndarray]:
    """Return the parameters, as a `schema`, and the features of an npy body.

    The features are (region, region_dim), float32. The parameters are JSON in the query parameter
    `params`. A header that cannot be right is refused before anything of the size that it claims is
    allocated.

    Raises:
        Problem: Too large, too slow, or no features of this width.
    """
    given = request.query_params.get(PARAMS_PART, "{}")
    params = _validated(schema, given.encode(), inside=PARAMS_PART)
    body = bytearray()
    await _receive(request, bounds, body.extend)
    try:
        return params, read_query_regions(bytes(body), region_dim=region_dim)
    except RegionFeatureError as error:
        item = ProblemItem(where="body", code="invalid_regions", message=str(error))
        raise Problem("invalid_regions", str(error), errors=[item]) from error


async def _receive(request: Request, bounds: BodyBounds, take: Callable[[bytes], Any]) -> None:
    """Hand the body of `request` to `take`, piece by piece, within bounds."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem(
            "unsupported_media_type", f"the content encoding is {encoding[:50]}; send it as it is"
        )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > bounds.max_bytes:
        raise _too_large(bounds)
    received = 0
    try:
        async with asyncio.timeout(bounds.timeout_ms / 1000):
            async for piece in request.stream():
                received += len(piece)
                if received > bounds.max_bytes:
                    raise _too_large(bounds)
                take(piece)
    except TimeoutError as error:
        raise Problem(
            "upload_timeout",
            f"{received:,} bytes in {bounds.timeout_ms / 1000:g} s; send a smaller picture",
            headers={"Connection": "close"},
        ) from error


def _too_large(bounds: BodyBounds) -> Problem:
    # What is still on its way is not read, so the connection cannot be used again.
    return Problem(
        "body_too_large",
        f"the body is larger than {bounds.max_bytes:,} bytes; send a smaller picture or fewer",
        headers={"Connection": "close"},
    )


def _validated(schema: type[S], body: bytes | bytearray, *, inside: str = "") -> S:
    try:
        return schema.model_validate_json(bytes(body))
    except ValidationError as error:
        raise invalid_request(
            error.errors(include_url=False, include_input=False), inside=inside, schema=schema
        ) from error


def _refused(where: str, code: str, message: str) -> Problem:
    item = ProblemItem(where=where, code=code, message=message)
    return Problem("invalid_request", f"{where}: {message}", errors=[item])


def _parser_into(parts: "_Parts", boundary: bytes) -> MultipartParser:
    if not boundary:
        raise Problem("malformed_multipart", "the content type names no boundary")
    try:
        return MultipartParser(
            boundary,
            {
                "on_part_begin": parts.begin_part,
                "on_header_field": parts.take_name,
                "on_header_value": parts.take_value,
                "on_header_end": parts.end_header,
                "on_headers_finished": parts.end_headers,
                "on_part_data": parts.take_content,
                "on_end": parts.end,
            },
        )
    except FormParserError as error:
        raise Problem("malformed_multipart", str(error)) from error


def _write_piece(parser: MultipartParser, piece: bytes) -> None:
    try:
        parser.write(piece)
    except FormParserError as error:
        raise Problem("malformed_multipart", str(error)) from error


class _Parts:
    """What a parser finds in a multipart body: pictures and parameters; the rest is refused.

    It does not know the parser, which knows it: in a circle the pictures would stay in memory until
    the garbage collector comes by, long after their request.
    """

    def __init__(self) -> None:
        self.pictures: list[bytearray] = []
        self.params: bytearray | None = None
        self._headers: dict[str, bytes] = {}
        self._name = bytearray()
        self._value = bytearray()
        self._content = bytearray()
        self._is_whole = False

    def check_whole(self) -> None:
        """Refuse a body that ends before its closing boundary."""
        if not self._is_whole:
            raise Problem("malformed_multipart", "the body ends before its closing boundary")

    def begin_part(self) -> None:
        self._headers = {}

    def take_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def end_header(self) -> None:
        self._headers[self._name.decode("latin-1").lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def end_headers(self) -> None:
        disposition = self._headers.get("content-disposition", b"").decode("latin-1")
        _, options = parse_options_header(disposition)
        name = options.get(b"name", b"").decode("utf-8", errors="replace")
        self._content = bytearray()
        if name == PICTURE_PART:
            if len(self.pictures) == MAX_QUERIES:
                raise Problem(
                    "too_many_queries",
                    f"more than {MAX_QUERIES} pictures; send them in parts",
                    headers={"Connection": "close"},
                )
            self.pictures.append(self._content)
        elif name == PARAMS_PART and self.params is None:
            self.params = self._content
        else:
            where = name[:100] or "part"
            raise _refused(
                where, "unknown_field", "parts are one or more 'file' and at most one 'params'"
            )

    def take_content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def end(self) -> None:
        self._is_whole = True
