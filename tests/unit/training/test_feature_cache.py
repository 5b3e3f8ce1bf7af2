import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from model.config import PreprocessorConfig
from model.errors import DataError
from model.inputs.pictures import PictureTransform, open_picture
from model.training import feature_cache
from model.training.feature_cache import cached_grid_features, cached_pixels, weights_hash
from tests.worlds import made_up_picture, tiny_hrem

TRANSFORM = PictureTransform(PreprocessorConfig(image_size=32, resize="squash"))


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number:02d}.png" for number in range(40)]
    for number, path in enumerate(paths):
        made_up_picture(number).save(path)
    return paths


def test_pixels_are_those_of_the_transform(pictures: list[Path], tmp_path: Path) -> None:
    pixels = cached_pixels(pictures, transform=TRANSFORM, folder=tmp_path / "cache")
    assert pixels.shape == (40, 3, 32, 32)
    for place in (0, 31, 32, 39):
        expected = TRANSFORM(open_picture(pictures[place]))
        np.testing.assert_array_equal(pixels[place], expected)


def test_a_cache_is_read_again_until_a_picture_or_the_preprocessing_changes(
    pictures: list[Path], tmp_path: Path
) -> None:
    folder = tmp_path / "cache"

    def files(transform: PictureTransform = TRANSFORM) -> set[str]:
        cached_pixels(pictures, transform=transform, folder=folder)
        return {path.name for path in folder.iterdir()}

    first = files()
    assert len(first) == 1
    assert files() == first
    made_up_picture(99).save(pictures[7])
    second = files()
    assert len(second) == 2
    files(PictureTransform(PreprocessorConfig(image_size=16, resize="squash")))
    assert len(list(folder.iterdir())) == 3


def test_features_are_those_of_the_backbone_and_mirrored_ones_of_the_mirrored_picture(
    pictures: list[Path], tmp_path: Path
) -> None:
    backbone = tiny_hrem(is_frozen=True).backbone
    assert backbone is not None

    def features(*, is_mirrored: bool) -> np.ndarray:
        return cached_grid_features(
            pictures,
            transform=TRANSFORM,
            grid_features=backbone.grid_features,
            network_hash=weights_hash(backbone),
            folder=tmp_path / "cache",
            is_mirrored=is_mirrored,
        )

    pixels = torch.from_numpy(np.stack([TRANSFORM(open_picture(path)) for path in pictures]))
    for is_mirrored in (False, True):
        expected = backbone.grid_features(pixels.flip(-1) if is_mirrored else pixels)
        stored = features(is_mirrored=is_mirrored)
        assert stored.dtype == np.float16
        np.testing.assert_allclose(stored, expected.numpy(), rtol=2e-3, atol=2e-3)


def test_the_hash_of_a_network_follows_its_weights() -> None:
    backbone = tiny_hrem().backbone
    assert backbone is not None
    before = weights_hash(backbone)
    assert before == weights_hash(backbone)
    with torch.no_grad():
        next(backbone.parameters()).add_(1e-6)
    assert weights_hash(backbone) != before


def test_a_damaged_picture_is_named_and_leaves_no_file(
    pictures: list[Path], tmp_path: Path
) -> None:
    pictures[33].write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"33\.png"):
        cached_pixels(pictures, transform=TRANSFORM, folder=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


class Stopping:
    """A frozen backbone that is stopped when it has encoded so many pictures."""

    def __init__(self, after: int | None = None) -> None:
        self.left = after
        self.seen = 0

    def grid_features(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.left is not None and self.seen >= self.left:
            raise KeyboardInterrupt
        self.seen += len(pixels)
        return pixels.float().flatten(2).transpose(1, 2) + 1

    def features(self, pictures: list[Path], folder: Path) -> np.ndarray:
        return cached_grid_features(
            pictures,
            transform=TRANSFORM,
            grid_features=self.grid_features,
            network_hash="of this",
            folder=folder,
        )


@pytest.fixture
def many_pictures(pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    # 40 pictures in 10 batches, flushed after every other one.
    monkeypatch.setattr(feature_cache, "_BATCH", 4)
    monkeypatch.setattr(feature_cache, "_FLUSHED", 8)
    return pictures


@pytest.mark.parametrize("harm", ["none", "torn", "zeros", "beginning", "empty"])
def test_a_pass_that_was_stopped_goes_on_with_the_rows_that_are_certain(
    many_pictures: list[Path], tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = Stopping().features(many_pictures, tmp_path / "whole")
    folder = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        Stopping(after=20).features(many_pictures, folder)
    (partial,) = folder.iterdir()
    content = partial.read_bytes()
    row = 32 * 32 * 3 * 2
    # 20 rows were written; the 16 before the last flush are certain, the others may be anything.
    harmed, done = {
        "none": (content, 16),
        "torn": (content[:-100], 16),
        "zeros": (content[: -4 * row] + bytes(4 * row), 16),
        "beginning": (content[:20], 0),
        "empty": (b"", 0),
    }[harm]
    partial.write_bytes(harmed)
    again = Stopping()
    np.testing.assert_array_equal(again.features(many_pictures, folder), whole)
    assert again.seen == 40 - done
    assert ("going on after 16 of 40" in capsys.readouterr().err) == (done > 0)
    (written,) = folder.iterdir()
    assert written.read_bytes() == next((tmp_path / "whole").iterdir()).read_bytes()


def test_of_two_who_want_the_same_features_the_second_waits_for_the_first(
    many_pictures: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = Stopping(), Stopping()
    encode = first.grid_features
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[np.ndarray]] = []

        def meanwhile(pixels: torch.Tensor) -> torch.Tensor:
            if not waiting:
                waiting.append(pool.submit(second.features, many_pictures, tmp_path / "cache"))
                while "waiting for it" not in capfd.readouterr().err:
                    time.sleep(0.01)
            return encode(pixels)

        first.grid_features = meanwhile  # type: ignore[method-assign]
        found = first.features(many_pictures, tmp_path / "cache")
        np.testing.assert_array_equal(waiting[0].result(), found)
    assert (first.seen, second.seen) == (40, 0)
