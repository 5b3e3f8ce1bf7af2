"""What the network reads of each picture, computed once and kept in a memory-mapped file.

- A frozen backbone: its grid features, float16, (image, region, channel), before any pooling, so
  that runs with different grids share a file.
- A trained backbone: the resized pixels, uint8, (image, 3, height, width).
- The file's name is a hash over the backbone's weights, the preprocessing and the content of every
  picture in order: a changed picture, size or weight is a new file, never a stale one.
- A file grows under another name, `.NAME.partial`, and is renamed when it is whole. A process that
  was stopped or killed goes on after the rows that are on the disk for certain; one that wants what
  another is writing waits for it.
"""

import fcntl
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

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
# Rows that are written between two flushes to the disk: so many at most are computed again.
_FLUSHED = 4 * _BATCH
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

    def rows(first: int) -> Iterator[npt.NDArray[np.float16]]:
        with torch.inference_mode():
            for pixels in _pixel_batches(pictures[first:], transform):
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

    def rows(first: int) -> Iterator[npt.NDArray[np.uint8]]:
        for pixels in _pixel_batches(pictures[first:], transform):
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
    rows_from: Callable[[int], Iterator[npt.NDArray[T]]],
    row_count: int,
    description: str,
) -> npt.NDArray[T]:
    """Return the memory map at `path`, writing it first, or what is missing, if it is not there.

    Args:
        path: Of the whole file.
        rows_from: The batches of rows from a number on, which is a multiple of the batch.
        row_count: Of the whole file.
        description: What is done meanwhile.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        with _partial_to_itself(path) as partial:
            if partial is not None:
                _write(partial, rows_from, row_count, description)
                move_file(_partial_path(path), path)
                console.say(f"wrote  {path}  ({path.stat().st_size / 1e6:,.0f} MB)")
    stored: npt.NDArray[T] = np.load(path, mmap_mode="r")
    return stored


def _partial_path(path: Path) -> Path:
    return path.with_name(f".{path.stem}.partial")


@contextmanager
def _partial_to_itself(path: Path) -> Iterator[BinaryIO | None]:
    """Yield the growing file of `path`, locked; None where another process finished it meanwhile.

    Pictures that cannot be read make it worthless: mended ones are another file's.
    """
    partial = _partial_path(path)
    while not path.is_file():
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console.say(f"another process is writing {path}; waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            if not partial.is_file() or not os.path.samestat(
                os.fstat(file.fileno()), partial.stat()
            ):
                continue  # finished or given up by the other
            try:
                yield file
            except DataError:
                partial.unlink()
                raise
            return
    yield None


def _write(
    file: BinaryIO,
    rows_from: Callable[[int], Iterator[npt.NDArray[T]]],
    row_count: int,
    description: str,
) -> None:
    """Append the batches of rows that a .npy file lacks."""
    done = _kept_rows(file, row_count)
    if done:
        console.say(f"{description}  going on after {done:,} of {row_count:,}")
    with console.progress(description, row_count - done, "images") as bar:
        for batch in rows_from(done):
            if done == 0:
                described = {
                    "descr": np.lib.format.dtype_to_descr(batch.dtype),
                    "fortran_order": False,
                    "shape": (row_count, *batch.shape[1:]),
                }
                np.lib.format.write_array_header_1_0(file, described)
            file.write(np.ascontiguousarray(batch).tobytes())
            done += len(batch)
            if done % _FLUSHED == 0:
                file.flush()
                os.fsync(file.fileno())
            bar.advance(len(batch))
    file.flush()


def _kept_rows(file: BinaryIO, row_count: int) -> int:
    """Return how many rows are there for certain, and cut the file behind them.

    What follows the last flush may be torn, or zeros where the machine lost its power. A row behind
    a multiple of `_FLUSHED` was written after the flush of all before it.
    """
    kept, end = 0, 0
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start, row_bytes = file.tell(), dtype.itemsize * math.prod(shape[1:])
        found = min(row_count, (file.seek(0, os.SEEK_END) - start) // row_bytes)
        kept = max(0, found - 1) // _FLUSHED * _FLUSHED
        if kept:
            end = start + kept * row_bytes
    except ValueError:
        pass  # nothing yet, or a torn beginning
    file.seek(end)
    file.truncate()
    return kept
