"""Images that are rows of a region array in the SCAN layout: named, hashed, encoded.

`X_ims.npy`, with `X_ids.txt`, `X_counts.npy` and `X_caps.txt` beside it if they are there. Such
items have an embedding and an id, and neither picture nor thumbnail. A row that cannot be used
refuses the source before anything is encoded.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from index_builder.vector_index import Rows
from model.console import progress
from model.data.scan import open_scan_images
from model.dual_encoder import RegionEncoder
from model.inputs.regions import ImageRegions, RegionBatch

__all__ = [
    "RegionList",
    "encode_regions",
    "hash_regions",
    "read_regions",
]

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class RegionList:
    """What a region array named.

    Attributes:
        entries: The ids of the images, in row order, unique, at least one.
        regions: Of each image.
        root: None: there are no pictures.
    """

    entries: tuple[str, ...]
    regions: ImageRegions
    root: None = None


def read_regions(source: Path) -> RegionList:
    """Return the images of the region array `source`.

    Raises:
        DataError: The array, or a file beside it, cannot be used.
    """
    images = open_scan_images(source)
    return RegionList(images.image_ids, images.regions)


def hash_regions(regions: ImageRegions) -> list[str]:
    """Return the sha256 of each image's real regions.

    Raises:
        DataError: An image has no real region, or a value is NaN or infinite.
    """
    hashes = []
    with progress("reading regions", len(regions), "images") as bar:
        for batch in _batches(regions, _ROWS_AT_ONCE):
            for features, count in zip(batch.features, batch.counts, strict=True):
                hashes.append(hashlib.sha256(features[:count].astype("<f4").tobytes()).hexdigest())
            bar.advance(len(batch.counts))
    return hashes


def encode_regions(
    encoder: RegionEncoder, regions: ImageRegions, add: Callable[[Rows], None], *, batch_size: int
) -> None:
    """Pass the vectors of all images to `add`, in order, a batch at a time."""
    with progress("encoding images", len(regions), "images") as bar:
        for batch in _batches(regions, batch_size):
            counts = torch.from_numpy(batch.counts)
            add(encoder.encode_regions(batch.features, counts, batch_size=batch_size).numpy())
            bar.advance(len(counts))


def _batches(regions: ImageRegions, size: int) -> Iterator[RegionBatch]:
    for start in range(0, len(regions), size):
        yield regions.read(np.arange(start, min(start + size, len(regions))))
