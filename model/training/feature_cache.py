"""What the network reads of each picture, computed once and kept in a memory-mapped file.

- A frozen backbone: its grid features, float16, (image, region, channel), before any pooling, so
  that runs with different grids share a file.
- A trained backbone: the resized pixels, uint8, (image, 3, height, width).
- The file's name is a hash over the backbone's weights, the preprocessing and the content of every
  picture in order: a changed picture, size or weight is a new file, never a stale one.
- A file is written under another name and renamed when it is whole.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import console
from model.checkpoint import hash_of_weights
from model.durable import move_file
from model.errors import DataError, PictureError
from model.identifiers import sha256_of_file
from model.inputs.pictures import PictureTransform, open_picture

__all__ = ["cached_grid_features", "cached_pixels", "weights_hash"]

_FORMAT = "1"
_BATCH = 32
_READERS = 4
T = TypeVar("T", bound=np.generic)


def weights_hash(network: torch.nn.Module) -> str:
    """Return a hex sha256 over the sorted (name, type, shape, bytes) of a network's weights."""
    return hash_of_weights(network.state_dict()).hexdigest()


def cached_grid_features(
    pictures: Sequence[Path],
    *,
    transform: PictureTransform,
    grid_features: Callable[[Tensor], Tensor],
    network_hash: str,
    folder: Path,
    is_mirrored: bool = False,
    device: str | torch.device = "cpu",
) -> npt.NDArray[np.float16]:
    """Return a read-only memory map (image, region, channel) of a frozen backbone's features.

    Args:
        pictures: Files, in the order of the rows.
        transform: Preprocessing of the network.
        grid_features: From uint8 pixels (image, 3, height, width) to features (image, region,
            channel).
        network_hash: Of whatever `grid_features` computes with.
        folder: Where cache files are kept.
        is_mirrored: Features of the pictures mirrored left to right.
        device: Where `grid_features` computes.

    Raises:
        DataError: A picture cannot be read.
    """

    def rows() -> Iterator[npt.NDArray[np.float16]]:
        with torch.inference_mode():
            for pixels in _pixel_batches(pictures, transform):
                turned = pixels.flip(-1) if is_mirrored else pixels
                yield grid_features(turned.to(device)).to("cpu", torch.float16).numpy()

    key = _key(pictures, transform, "grid", network_hash, "mirrored" if is_mirrored else "")
    return _cached(folder / f"grid-{key}.npy", rows, len(pictures), "encoding pictures")


def cached_pixels(
    pictures: Sequence[Path], *, transform: PictureTransform, folder: Path
) -> npt.NDArray[np.uint8]:
    """Return a read-only memory map (image, 3, height, width) of the resized pictures.

    Raises:
        DataError: A picture cannot be read.
    """

    def rows() -> Iterator[npt.NDArray[np.uint8]]:
        for pixels in _pixel_batches(pictures, transform):
            yield pixels.numpy()

    key = _key(pictures, transform, "pixels")
    return _cached(folder / f"pixels-{key}.npy", rows, len(pictures), "reading pictures")


def _pixel_batches(pictures: Sequence[Path], transform: PictureTransform) -> Iterator[Tensor]:
    """Yield uint8 batches in order, decoded by a few threads ahead of their use."""

    def read(path: Path) -> npt.NDArray[np.uint8]:
        try:
            return transform(open_picture(path))
        except PictureError as error:
            raise DataError(f"{error}; remove it from the captions file") from error

    with ThreadPoolExecutor(_READERS) as readers:
        ahead: list[list[Future[npt.NDArray[np.uint8]]]] = []
        for start in range(0, len(pictures), _BATCH):
            paths = pictures[start : start + _BATCH]
            ahead.append([readers.submit(read, path) for path in paths])
            if len(ahead) > 1:
                yield _stacked(ahead.pop(0))
        while ahead:
            yield _stacked(ahead.pop(0))


def _stacked(reading: list[Future[npt.NDArray[np.uint8]]]) -> Tensor:
    """Wait for a batch and return it."""
    return torch.from_numpy(np.stack([future.result() for future in reading]))


def _key(pictures: Sequence[Path], transform: PictureTransform, *parts: str) -> str:
    """Return 24 hex digits over everything that decides the content of a cache file."""
    digest = hashlib.sha256()
    for part in (_FORMAT, *parts, transform.config.model_dump_json()):
        digest.update(part.encode() + b"\n")
    with ThreadPoolExecutor(_READERS) as readers:
        for content in readers.map(sha256_of_file, pictures):
            digest.update(content.encode())
    return digest.hexdigest()[:24]


def _cached(
    path: Path,
    rows: Callable[[], Iterator[npt.NDArray[T]]],
    row_count: int,
    description: str,
) -> npt.NDArray[T]:
    """Return the memory map at `path`, writing it first if it is not there."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.stem}.{os.getpid()}.partial")
        try:
            _write(partial, rows(), row_count, description)
            move_file(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        console.say(f"wrote  {path}  ({path.stat().st_size / 1e6:,.0f} MB)")
    stored: npt.NDArray[T] = np.load(path, mmap_mode="r")
    return stored


def _write(path: Path, rows: Iterator[npt.NDArray[T]], row_count: int, description: str) -> None:
    """Write batches of rows into one .npy file."""
    array: np.memmap | None = None
    start = 0
    with console.progress(description, row_count, "images") as bar:
        for batch in rows:
            if array is None:
                array = np.lib.format.open_memmap(
                    path, mode="w+", dtype=batch.dtype, shape=(row_count, *batch.shape[1:])
                )
            array[start : start + len(batch)] = batch
            start += len(batch)
            bar.advance(len(batch))
    if array is not None:
        array.flush()
