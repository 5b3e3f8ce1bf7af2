"""Pictures are opened safely and resized the same way everywhere."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.config import PreprocessorConfig
from model.errors import TooManyPixelsError, UnreadablePictureError
from model.inputs.pictures import PictureTransform, open_picture

ROTATED = 6  # EXIF: turn by 90 degrees clockwise to see it upright


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=form, **options)
    return buffer.getvalue()


def halves(size: tuple[int, int] = (40, 20)) -> Image.Image:
    picture = Image.new("RGB", size, "red")
    picture.paste("blue", (size[0] // 2, 0, *size))
    return picture


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_listed_format_opens(form: str) -> None:
    opened = open_picture(encoded(halves(), form))
    assert opened.mode == "RGB"
    assert opened.size == (40, 20)
    red, _, blue = opened.getpixel((5, 10))
    assert red > 200 > blue


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = ROTATED
    opened = open_picture(encoded(halves(), "JPEG", exif=exif, quality=95))
    assert opened.size == (20, 40)
    assert opened.getpixel((10, 5))[0] > 200  # what was left is on top


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert open_picture(encoded(clear, "PNG")).getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    value = open_picture(encoded(grey, "PNG")).getpixel((0, 0))[0]
    assert 120 <= value <= 135


def test_the_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    content = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(content).getpixel((0, 0)) == (255, 0, 0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_truncated_picture_is_unreadable(form: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    content = encoded(noise, form)
    with pytest.raises(UnreadablePictureError):
        open_picture(content[: int(share * len(content))])


def test_text_named_jpg_and_unlisted_formats_are_unreadable(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("this is no picture")
    with pytest.raises(UnreadablePictureError, match="not a picture of a known format"):
        open_picture(text)
    with pytest.raises(UnreadablePictureError):
        open_picture(b'<svg xmlns="http://www.w3.org/2000/svg"/>')
    with pytest.raises(UnreadablePictureError):
        open_picture(encoded(halves(), "ICO"))
    with pytest.raises(UnreadablePictureError, match="no such file"):
        open_picture(tmp_path / "none.jpg")


def test_too_many_pixels_are_seen_before_decoding() -> None:
    content = encoded(Image.new("1", (5001, 5000)), "PNG")
    with pytest.raises(TooManyPixelsError, match="megapixels"):
        open_picture(content)
    # The data behind the header are cut off: had it been decoded, it would be unreadable.
    with pytest.raises(TooManyPixelsError):
        open_picture(content[:200])
    assert open_picture(content, max_pixels=5001 * 5000).size == (5001, 5000)


def test_squash_keeps_all_and_crop_cuts_the_centre() -> None:
    wide = Image.new("RGB", (300, 100), "black")
    wide.paste("white", (100, 0, 200, 100))
    squashed = PictureTransform(PreprocessorConfig(image_size=64, resize="squash"))(wide)
    cropped = PictureTransform(PreprocessorConfig(image_size=64, crop_fraction=1.0))(wide)
    assert squashed.shape == cropped.shape == (3, 64, 64)
    assert squashed.dtype == np.uint8
    assert squashed.mean() == pytest.approx(85, abs=3)
    assert cropped.mean() > 250


def test_a_ribbon_is_not_blown_up() -> None:
    # Resized as a whole it would be 1,825,000,000 x 73 pixels, more than Pillow can hold.
    ribbon = Image.new("RGB", (25_000_000, 1))
    assert PictureTransform(PreprocessorConfig(image_size=64))(ribbon).shape == (3, 64, 64)
