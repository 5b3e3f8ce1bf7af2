"""Region arrays on disk, memory-mapped and never read whole nor unpickled.

- How many regions of a row are real is told by counts, or by the zeros at its end, which are
  padding. Padding comes back as zeros.
- Type, shape and counts are checked when a file is opened, values when their rows are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.errors import EmptyItemError, RegionFeatureError

__all__ = [
    "ImageRegions",
    "RegionBatch",
    "RegionFile",
    "count_regions",
    "is_feature_type",
    "open_region_file",
]

_FLOAT_BYTES = (2, 4, 8)
_ROWS_AT_ONCE = 256

Features = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class RegionBatch:
    """Regions of some images.

    Attributes:
        features: (image, region, region_dim) float32, finite; zeros from an image's count on.
        counts: (image,), how many regions are real; at least 1.
    """

    features: Features
    counts: Places

    @property
    def is_padding(self) -> npt.NDArray[np.bool_]:
        """(image, region), True = padding."""
        return np.arange(self.features.shape[1]) >= self.counts[:, None]


@dataclass(frozen=True, eq=False)
class RegionFile:
    """An open region array.

    Attributes:
        path: Where it lies.
        array: (row, region, region_dim), memory-mapped.
        counts: (row,), how many regions are real; None = up to the rows of zeros at the end.
    """

    path: Path
    array: npt.NDArray[Any]
    counts: Places | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.array)

    def read(self, rows: Places) -> RegionBatch:
        """Return the regions of `rows`.

        Raises:
            RegionFeatureError: A value is NaN or infinite.
            EmptyItemError: A row has no real region.
        """
        features = np.array(self.array[rows], dtype=np.float32)
        counts = count_regions(features) if self.counts is None else self.counts[rows]
        if not counts.all():
            raise EmptyItemError(
                f"{self.path.name} row {rows[counts.argmin()]}: every region is zero; take the "
                "image out, with its captions"
            )
        batch = RegionBatch(features, counts)
        features[batch.is_padding] = 0
        is_finite = np.isfinite(features).all(axis=(1, 2))
        if not is_finite.all():
            raise RegionFeatureError(
                f"{self.path.name} row {rows[is_finite.argmin()]}: holds NaN or infinity; extract "
                "its features again"
            )
        return batch

    def differs_from_previous(self) -> npt.NDArray[np.bool_]:
        """Return (row,): whether a row's first or last region is another than the row's before.

        True for the first row. The regions between are not read.
        """
        differs = np.ones(len(self), dtype=np.bool_)
        for start in range(1, len(self), _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, len(self))
            ends = self.array[start - 1 : stop, [0, -1]]
            differs[start:stop] = (ends[1:] != ends[:-1]).any(axis=(1, 2))
        return differs


@dataclass(frozen=True, eq=False)
class ImageRegions:
    """The regions of the images of a data set; image i is one row of one of the files.

    Attributes:
        files: Region arrays of one width.
        file_of_image: (image,), a place in `files`.
        row_of_image: (image,), a row of that file.
    """

    files: tuple[RegionFile, ...]
    file_of_image: Places
    row_of_image: Places

    @classmethod
    def of_file(cls, file: RegionFile, rows: Places) -> "ImageRegions":
        """Return the images that are `rows` of one file."""
        return cls((file,), np.zeros(len(rows), dtype=np.int64), rows)

    @classmethod
    def joined(cls, parts: Sequence["ImageRegions"]) -> "ImageRegions":
        """Return the images of all parts, one part after the other.

        Raises:
            RegionFeatureError: The parts are of different widths.
        """
        files = [file for part in parts for file in part.files]
        for file in files[1:]:
            if file.array.shape[2] != files[0].array.shape[2]:
                raise RegionFeatureError(
                    f"{files[0].path} holds regions of {files[0].array.shape[2]} values but "
                    f"{file.path.name} of {file.array.shape[2]}; extract both with one detector"
                )
        firsts = np.cumsum([0, *(len(part.files) for part in parts[:-1])])
        return cls(
            tuple(files),
            np.concatenate(
                [part.file_of_image + first for part, first in zip(parts, firsts, strict=True)]
            ),
            np.concatenate([part.row_of_image for part in parts]),
        )

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.row_of_image)

    @property
    def region_count(self) -> int:
        """Regions of an image, padding included: the most that any file has."""
        return max(file.array.shape[1] for file in self.files)

    @property
    def region_dim(self) -> int:
        """Width of a region feature."""
        return int(self.files[0].array.shape[2])

    def subset(self, positions: Sequence[int]) -> "ImageRegions":
        """Return the images at `positions`, in that order."""
        places = np.asarray(positions, dtype=np.int64)
        return ImageRegions(self.files, self.file_of_image[places], self.row_of_image[places])

    def read(self, images: Places) -> RegionBatch:
        """Return the regions of `images`; only their rows are read from the disk.

        Raises:
            RegionFeatureError: A value is NaN or infinite.
            EmptyItemError: An image has no real region.
        """
        features = np.zeros((len(images), self.region_count, self.region_dim), dtype=np.float32)
        counts = np.zeros(len(images), dtype=np.int64)
        for place, file in enumerate(self.files):
            chosen = np.flatnonzero(self.file_of_image[images] == place)
            if len(chosen):
                part = file.read(self.row_of_image[images[chosen]])
                features[chosen, : part.features.shape[1]] = part.features
                counts[chosen] = part.counts
        return RegionBatch(features, counts)


def open_region_file(path: Path, counts_path: Path | None = None) -> RegionFile:
    """Return the region array at `path`, with the counts at `counts_path` if that is there.

    Raises:
        RegionFeatureError: One of the files cannot be used.
    """
    array = _open_array(path)
    if array.ndim != 3 or not all(array.shape):
        raise RegionFeatureError(
            f"{path} has shape {array.shape}; expected (image, region, region_dim), none of them 0"
        )
    if not is_feature_type(array.dtype):
        raise RegionFeatureError(
            f"{path} holds {array.dtype}; expected float32 (or float16, float64)"
        )
    if counts_path is None or not counts_path.is_file():
        return RegionFile(path, array)
    counts = _open_array(counts_path)
    if counts.shape != array.shape[:1] or counts.dtype.kind not in "iu":
        raise RegionFeatureError(
            f"{counts_path} holds {counts.dtype} of shape {counts.shape}; expected one whole "
            f"number for each of the {len(array):,} rows of {path.name}"
        )
    real = np.array(counts, dtype=np.int64)
    if real.min() < 1 or real.max() > array.shape[1]:
        raise RegionFeatureError(
            f"{counts_path} holds counts from {real.min()} to {real.max()}; the rows of "
            f"{path.name} have 1 to {array.shape[1]} regions"
        )
    return RegionFile(path, array, real)


def is_feature_type(dtype: np.dtype) -> bool:
    """Return whether features may be of this type: float16, float32 or float64."""
    return dtype.kind == "f" and dtype.itemsize in _FLOAT_BYTES


def count_regions(features: npt.NDArray[Any]) -> Places:
    """Return for each image (image, region, region_dim) its regions up to the last not zero."""
    is_real = (features != 0).any(axis=2)
    behind = is_real[:, ::-1].argmax(axis=1)
    return np.where(is_real.any(axis=1), features.shape[1] - behind, 0).astype(np.int64)


def _open_array(path: Path) -> npt.NDArray[Any]:
    """Return the memory-mapped array at `path`."""
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise RegionFeatureError(f"there is no {path}") from None
    # A damaged header makes numpy's parser raise more kinds than its documentation names.
    except Exception as error:
        raise RegionFeatureError(f"{path} is no whole .npy array ({error})") from error
    return array
