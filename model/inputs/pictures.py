"""Pictures: opened safely, turned upright, resized, made an array.

One piece of code for training, building and serving, so that all three see the same pixels.
- The format is decided by the bytes, from a short list; the pixel count is read from the header
  and checked before anything is decoded, and so is how much work the file asks for.
- EXIF orientation is applied; the first frame of an animation is taken; transparency lies on
  white.
- Resizing is Pillow's, antialiased, on 8-bit pixels; normalisation happens in the network.
- torch is not imported here: a process that only reads pictures starts quickly and stays small.
"""

import io
import math
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, UnidentifiedImageError

from model.config import PreprocessorConfig
from model.errors import TooManyPixelsError, UnreadablePictureError
from model.inputs.picture_effort import MAX_FILE_BYTES, check_directory, check_effort

__all__ = ["FORMATS", "MAX_PIXELS", "PictureTransform", "open_picture"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 25_000_000
_RIBBON = 4  # longer than so many of its widths
_LONGEST_SIDE = 65_536  # resized in one step
_BAND_PIXELS = 1_000_000
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_picture(source: Path | bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return an upright RGB picture from a file or from its bytes, fully decoded.

    Raises:
        UnreadablePictureError: It is no picture, truncated, or of another format than `FORMATS`.
        TooManyPixelsError: It has more than `max_pixels`; nothing was decoded.
    """
    name = str(source) if isinstance(source, Path) else "the uploaded bytes"
    try:
        with warnings.catch_warnings():
            # Pillow's own bomb warning and EXIF complaints; the limit below is stricter.
            warnings.simplefilter("ignore")
            return _decoded(_content(source), name, max_pixels)
    except TooManyPixelsError:
        raise
    except UnreadablePictureError as error:
        raise UnreadablePictureError(f"{name}: {error}") from error
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(
            f"{name}: many more than {max_pixels / 1e6:.1f} megapixels"
        ) from error
    except UnidentifiedImageError as error:
        raise UnreadablePictureError(
            f"{name}: not a picture of a known format; use one of {', '.join(FORMATS)}"
        ) from error
    except FileNotFoundError as error:
        raise UnreadablePictureError(f"{name}: no such file") from error
    except Exception as error:
        # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error, IndexError ...
        # on damaged bytes; whatever it is, the picture cannot be read.
        raise UnreadablePictureError(f"{name}: damaged or truncated picture ({error})") from error


def _content(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source
    byte_count = source.stat().st_size
    if byte_count > MAX_FILE_BYTES:
        raise UnreadablePictureError(f"a file of {byte_count:,} bytes is not read")
    return source.read_bytes()


def _decoded(content: bytes, name: str, max_pixels: int) -> Image.Image:
    if not content:
        raise UnreadablePictureError("the file is empty")
    check_effort(content)
    with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
        width, height = picture.size
        if width * height > max_pixels:
            raise TooManyPixelsError(
                f"{name}: {width} x {height} is {width * height / 1e6:.1f} megapixels, "
                f"more than {max_pixels / 1e6:.1f}"
            )
        picture.seek(0)
        picture.load()
        turn = _turn_upright(picture)
        return _on_white(picture if turn is None else picture.transpose(turn))


def _turn_upright(picture: Image.Image) -> Image.Transpose | None:
    """Return what makes a picture upright by its EXIF; None if it is, or if that is damaged."""
    if isinstance(exif := picture.info.get("exif"), bytes):
        check_directory(exif)
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        # EXIF is a second file inside the first, often cut or written over by some program; the
        # pixels are whole.
        return None


def _on_white(picture: Image.Image) -> Image.Image:
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if not has_alpha:
        if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            picture = _eight_bit_grey(picture)
        return picture.convert("RGB")
    flat = Image.new("RGB", picture.size)
    for top, bottom in _bands(picture.size):
        # In bands: 25 megapixels would be held four times over.
        layered = picture.crop((0, top, picture.width, bottom)).convert("RGBA")
        ground = Image.new("RGBA", layered.size, (255, 255, 255, 255))
        flat.paste(Image.alpha_composite(ground, layered).convert("RGB"), (0, top))
    return flat


def _eight_bit_grey(picture: Image.Image) -> Image.Image:
    """Return 16-bit or real-valued grey as 8-bit grey; convert("RGB") would clip it to white."""
    values = np.asarray(picture)
    largest = np.fmax.reduce(values, axis=None, initial=0)
    white = 65535.0 if largest > 255 else 255.0
    grey = np.empty(values.shape, dtype=np.uint8)
    for top, bottom in _bands(picture.size):
        band = np.nan_to_num(values[top:bottom].astype(np.float64))
        grey[top:bottom] = np.clip(band / white * 255, 0, 255)
    return Image.fromarray(grey)


def _bands(size: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """Yield the first row and the row behind the last of bands of about a megapixel."""
    width, height = size
    row_count = max(1, _BAND_PIXELS // width)
    for top in range(0, height, row_count):
        yield top, min(top + row_count, height)


class PictureTransform:
    """Resize a picture to what the network reads.

    `squash` resizes both sides to `image_size`; `crop` resizes the shorter side to
    `image_size / crop_fraction` and cuts the centre, as most pretrained backbones want.
    """

    def __init__(self, config: PreprocessorConfig) -> None:
        self.config = config

    def __call__(self, picture: Image.Image) -> UInt8[np.ndarray, "3 height width"]:
        """Return the pixels of an upright RGB picture, 0..255."""
        side = self.config.image_size
        if self.config.resize == "squash":
            return _as_array(self._resized(picture, (side, side)))
        size, left, top = self._centre(picture.size)
        if max(size) > _RIBBON * min(size):
            # A 1 x 25,000,000 picture would become gigabytes before its centre is cut out, so only
            # the centre is resized: the same to a grey level, Pillow's rounding between its passes.
            across, down = picture.width / size[0], picture.height / size[1]
            box = (left * across, top * down, (left + side) * across, (top + side) * down)
            return _as_array(picture.resize((side, side), self._filter, box=box))
        resized = self._resized(picture, size)
        return _as_array(resized.crop((left, top, left + side, top + side)))

    def seen_box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return what the network sees of a picture: left, top, right, bottom.

        Args:
            size: Width and height of the upright picture.

        Returns:
            Fractions of width and height: (0, 0, 1, 1) is all of it.
        """
        if self.config.resize == "squash":
            return (0.0, 0.0, 1.0, 1.0)
        side = self.config.image_size
        (width, height), left, top = self._centre(size)
        return (left / width, top / height, (left + side) / width, (top + side) / height)

    def _centre(self, size: tuple[int, int]) -> tuple[tuple[int, int], int, int]:
        """Return for `crop` the size that a picture is resized to, and where the cut begins."""
        width, height = size
        shortest = round(self.config.image_size / self.config.crop_fraction)
        # int(), not round(): the long side is cut down, as the reference processors do.
        if width <= height:
            resized = (shortest, max(shortest, int(shortest * height / width)))
        else:
            resized = (max(shortest, int(shortest * width / height)), shortest)
        left, top = ((length - self.config.image_size) // 2 for length in resized)
        return resized, left, top

    @property
    def _filter(self) -> Image.Resampling:
        return Image.Resampling[self.config.resample.upper()]

    def _resized(self, picture: Image.Image, size: tuple[int, int]) -> Image.Image:
        if picture.size == size:
            return picture
        if max(picture.size) > _LONGEST_SIDE:
            # The filter's weights take 32 bytes for each pixel of a side: 800 MB at 25,000,000.
            width, height = (math.ceil(side / _LONGEST_SIDE) for side in picture.size)
            picture = picture.reduce((width, height))
        return picture.resize(size, self._filter)


def _as_array(picture: Image.Image) -> UInt8[np.ndarray, "3 height width"]:
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))
