"""Files of few pixels and millions of steps are refused at once; honest large ones are read."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from model.errors import UnreadablePictureError
from model.inputs.picture_effort import MAX_SCANS, check_effort
from model.inputs.pictures import open_picture
from tests.hostile.files import bombs_of_work, noise, tiff, with_exif

LONGEST_S = 1.0  # of CPU time; without the check most take from 3 s to minutes


def test_a_bomb_of_work_costs_no_more_than_a_small_picture() -> None:
    slow = []
    for bomb in bombs_of_work():
        started = time.process_time()
        try:
            open_picture(bomb.content)
        except UnreadablePictureError as error:
            assert str(error).startswith("the uploaded bytes: ")
        if (took := time.process_time() - started) > LONGEST_S:
            slow.append((bomb.name, took))
    assert not slow


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    content = io.BytesIO()
    picture.save(content, form, **options)
    return content.getvalue()


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("JPEG", {"progressive": True, "quality": 95}),
        ("JPEG", {"restart_marker_blocks": 1}),
        ("JPEG", {"comment": b"a" * 60_000, "icc_profile": bytes(1_000_000)}),
        ("PNG", {"compress_level": 0}),
        ("GIF", {"comment": b"a" * 200_000}),
        ("BMP", {}),
        ("TIFF", {"compression": "tiff_deflate", "tiffinfo": {278: 1}}),
        ("WEBP", {"lossless": True}),
    ],
)
def test_no_honest_picture_comes_near_the_limits(form: str, options: dict) -> None:
    large = noise(1_500)
    if form == "GIF":
        large = large.convert("L")  # choosing its colours would take seconds and add no block
    opened = open_picture(encoded(large, form, **options))
    assert opened.size == large.size


def test_the_bytes_of_a_scan_are_not_taken_for_markers() -> None:
    """Noise is full of 0xFF bytes, and a film behind a picture of what looks like scans."""
    film = b"\xff\xda\0\x04" * 1_000
    assert open_picture(encoded(noise(500), "JPEG", quality=100) + film).size == (500, 500)


def test_more_scans_than_any_encoder_writes_are_refused_whatever_lies_between() -> None:
    whole = encoded(noise(64), "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    own = whole.count(b"\xff\xda")
    check_effort(whole[:-2] + last * (MAX_SCANS - own) + b"\xff\xd9")
    with pytest.raises(UnreadablePictureError, match="65 scans, at most 64"):
        check_effort(whole[:-2] + last * (MAX_SCANS - own + 1) + b"\xff\xd9")


@pytest.mark.parametrize(
    "head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]
)
def test_what_is_cut_or_no_picture_passes_for_the_reader_to_refuse(head: bytes) -> None:
    chance = np.random.default_rng(0).bytes(2_000)
    for length in range(0, 2_000, 50):
        check_effort(head + chance[:length])


def test_damaged_exif_costs_the_turn_and_not_the_picture() -> None:
    assert open_picture(with_exif(b"II*\0" + b"\xff" * 99)).size == (64, 64)
    assert open_picture(with_exif(tiff([(274, 3, 1, 77)]))).size == (64, 64)
