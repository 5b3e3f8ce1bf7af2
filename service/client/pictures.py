"""Pictures in all the forms that a client may hold, as bodies of requests.

A file is a `Path`, never a plain string, which could as well be an id or a URL.
"""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

__all__ = [
    "Base64Image",
    "ImageSource",
    "ImageUrl",
    "IndexedImage",
    "body_of_pictures",
    "image_query_of",
]

NPY = "application/x-npy"
# What PNG holds as it is; everything else becomes RGB, as the service would see it.
PNG_MODES = frozenset({"1", "L", "LA", "P", "RGB", "RGBA"})


@dataclass(frozen=True)
class IndexedImage:
    """An image of the served index, by its id."""

    id: str


@dataclass(frozen=True)
class ImageUrl:
    """A picture that the service is to fetch, where it is allowed to."""

    url: str


@dataclass(frozen=True)
class Base64Image:
    """A picture file in base64 (RFC 4648, with padding)."""

    text: str


ImageSource: TypeAlias = Union[
    Path, bytes, Base64Image, IndexedImage, ImageUrl, "Image.Image", "np.ndarray"
]


def body_of_pictures(
    pictures: ImageSource | Sequence[ImageSource], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return httpx's arguments for a body of one or more pictures and the other fields.

    Raises:
        TypeError: No picture in a form that is known, or several of a kind that comes alone.
    """
    if isinstance(pictures, Sequence) and not isinstance(pictures, str | bytes):
        return _upload([_content_of(picture) for picture in pictures], fields)
    if isinstance(pictures, Base64Image | IndexedImage | ImageUrl):
        return {"json": {"image": image_query_of(pictures), **fields}}
    if _is_array(pictures):
        body = io.BytesIO()
        _save_regions(body, pictures)
        params = {"params": json.dumps(dict(fields))} if fields else {}
        return {
            "content": body.getvalue(),
            "headers": {"Content-Type": NPY},
            "params": params,
        }
    return _upload([_content_of(pictures)], fields)


def image_query_of(picture: ImageSource) -> dict[str, str]:
    """Return a picture as the JSON of a request has it.

    Raises:
        TypeError: It is in no form that is known, or region features, which JSON does not carry.
    """
    match picture:
        case IndexedImage(id=id):
            return {"id": id}
        case ImageUrl(url=url):
            return {"url": url}
        case Base64Image(text=text):
            return {"base64": text}
        case _:
            return {"base64": base64.b64encode(_content_of(picture)[1]).decode()}


def _upload(files: Sequence[tuple[str, bytes]], fields: Mapping[str, Any]) -> dict[str, Any]:
    parts: list[Any] = [
        ("file", (name, content, "application/octet-stream")) for name, content in files
    ]
    if fields:
        parts.append(("params", (None, json.dumps(dict(fields)), "application/json")))
    return {"files": parts}


def _content_of(picture: object) -> tuple[str, bytes]:
    """Return a name and the bytes of a picture's file."""
    if isinstance(picture, bytes):
        return "picture", picture
    if isinstance(picture, Path):
        return picture.name, picture.read_bytes()
    if isinstance(picture, Base64Image):
        return "picture", base64.b64decode(picture.text)
    if _is_pillow(picture):
        return "picture.png", _png_of(picture)
    if isinstance(picture, str):
        raise TypeError(
            f"the string {picture[:60]!r} may be a file, an id or a URL; say which: "
            "Path(…), IndexedImage(…) or ImageUrl(…)"
        )
    if isinstance(picture, IndexedImage | ImageUrl) or _is_array(picture):
        raise TypeError(f"{type(picture).__name__} comes alone in a request; make a call for each")
    raise TypeError(
        f"{type(picture).__name__} is no picture; give a Path, bytes, a Pillow image, a numpy "
        "array of region features, IndexedImage, ImageUrl or Base64Image"
    )


# Neither Pillow nor numpy is loaded for those who use none: whoever holds such an object has it.
def _is_pillow(picture: object) -> bool:
    return any(kind.__module__ == "PIL.Image" for kind in type(picture).__mro__)


def _is_array(picture: object) -> bool:
    return any(kind.__module__ == "numpy" for kind in type(picture).__mro__) and hasattr(
        picture, "dtype"
    )


def _png_of(picture: Any) -> bytes:
    """Return a Pillow image as a PNG, upright as its EXIF says: PNG would not carry that."""
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(picture)
    if upright.mode not in PNG_MODES:
        upright = upright.convert("RGB")
    content = io.BytesIO()
    upright.save(content, "PNG")
    return content.getvalue()


def _save_regions(body: io.BytesIO, regions: Any) -> None:
    import numpy as np

    np.save(body, regions, allow_pickle=False)
