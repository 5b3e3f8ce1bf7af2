"""Pictures: opened safely, turned upright, resized, made an array.

One piece of code for training, building and serving, so that all three see the same pixels.
- The format is decided by the bytes, from a short list; the pixel count is read from the header
  and checked before anything is decoded.
- EXIF orientation is applied; the first frame of an animation is taken; transparency lies on
  white.
- Resizing is Pillow's, antialiased, on 8-bit pixels; normalisation happens in the network.
- torch is not imported here: a process that only reads pictures starts quickly and stays small.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from model.config import PreprocessorConfig
from model.errors import TooManyPixelsError, UnreadablePictureError

__all__ = ["FORMATS", "MAX_PIXELS", "PictureTransform", "open_picture"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 25_000_000
_RIBBON = 4  # longer than so many of its widths


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
            opened = Image.open(
                source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS
            )
            with opened:
                width, height = opened.size
                if width * height > max_pixels:
                    raise TooManyPixelsError(
                        f"{name}: {width} x {height} is {width * height / 1e6:.1f} megapixels, "
                        f"more than {max_pixels / 1e6:.1f}; send a smaller picture"
                    )
                opened.seek(0)
                return _on_white(ImageOps.exif_transpose(opened))
    except TooManyPixelsError:
        raise
    except Image.DecompressionBombError as error:
        raise TooManyPixelsError(f"{name}: {error}; send a smaller picture") from error
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


def _on_white(picture: Image.Image) -> Image.Image:
    has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
    if not has_alpha:
        if picture.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
            # 16-bit grey would be clipped to white by convert("RGB").
            scaled = np.asarray(picture, dtype=np.float64)
            top = 65535.0 if scaled.max(initial=0) > 255 else 255.0
            picture = Image.fromarray(np.clip(scaled / top * 255, 0, 255).astype(np.uint8))
        return picture.convert("RGB")
    layered = picture.convert("RGBA")
    ground = Image.new("RGBA", layered.size, (255, 255, 255, 255))
    return Image.alpha_composite(ground, layered).convert("RGB")


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
        return picture.resize(size, self._filter)


def _as_array(picture: Image.Image) -> UInt8[np.ndarray, "3 height width"]:
    return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))
