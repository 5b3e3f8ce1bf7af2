"""Small pictures inside the page itself, as data URIs, within a budget of bytes."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from model.inputs.pictures import open_picture

__all__ = ["Thumbnails"]

LONGEST_SIDE = 144
JPEG_QUALITY = 75


class Thumbnails:
    """Thumbnails of the pictures at `paths`; none where there are no pictures.

    Args:
        paths: The picture of each image; empty where the images are region features.
        max_bytes: How many characters all that is handed out may take together.
    """

    def __init__(self, paths: Sequence[Path], *, max_bytes: int = 1_000_000) -> None:
        """Remember the paths; pictures are read when they are asked for."""
        self._paths = paths
        self._left = max_bytes
        self._made: dict[int, str] = {}

    def uri(self, image: int) -> str | None:
        """Return a data URI of the image's thumbnail; None if there is none or no budget is left.

        Raises:
            PictureError: The picture cannot be read.
        """
        if not self._paths:
            return None
        if image not in self._made:
            self._made[image] = _data_uri(open_picture(self._paths[image]))
        uri = self._made[image]
        if len(uri) > self._left:
            return None
        self._left -= len(uri)
        return uri


def _data_uri(picture: Image.Image) -> str:
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    picture.info.clear()  # no EXIF: places and cameras stay private
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
