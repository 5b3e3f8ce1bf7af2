"""What the network reads of every image of a run, computed or opened once.

- A frozen backbone: its grid features, float16, from the feature cache.
- A trained backbone: the resized pixels, uint8, from the feature cache.
- Region features: the memory-mapped arrays themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.eval_mode import in_eval_mode
from model.hrem import HREM
from model.inputs.backbone import average_grid
from model.inputs.regions import ImageRegions
from model.training.feature_cache import cached_grid_features, cached_pixels, weights_hash
from model.training.training_data import TrainingData

__all__ = [
    "StoredEncoder",
    "StoredImages",
    "StoredPictures",
    "StoredRegions",
    "StoredRows",
    "store_images",
]

_BATCH = 128


@dataclass(frozen=True)
class StoredRows:
    """What the network reads of some images.

    Attributes:
        values: As `Batch.image_values`.
        is_padding: (image, region), True = padding; None where every region is real.
    """

    values: Tensor
    is_padding: npt.NDArray[np.bool_] | None = None

    def means(self) -> Tensor:
        """Return (image, channel), the mean of each image's real regions."""
        if self.is_padding is None:
            return self.values.float().mean(dim=1)
        is_real = torch.from_numpy(~self.is_padding)[..., None]
        return (self.values * is_real).sum(dim=1) / is_real.sum(dim=1)


class StoredImages(Protocol):
    """What the network reads of every image of a data set."""

    is_pixels: bool

    def read(
        self, images: npt.NDArray[np.int64], is_mirrored: npt.NDArray[np.bool_] | None = None
    ) -> StoredRows:
        """Return the rows of `images`, mirrored where asked."""


class StoredRegions:
    """Region features, read from their memory maps batch by batch; they are never mirrored."""

    is_pixels = False

    def __init__(self, regions: ImageRegions) -> None:
        """Keep the regions of every image."""
        self._regions = regions

    def read(
        self, images: npt.NDArray[np.int64], is_mirrored: npt.NDArray[np.bool_] | None = None
    ) -> StoredRows:
        """Return the regions of `images`, zeros where padding is."""
        if is_mirrored is not None:
            raise ValueError("region features cannot be mirrored")
        batch = self._regions.read(images)
        return StoredRows(torch.from_numpy(batch.features), batch.is_padding)


class StoredPictures:
    """What the network reads of every picture: an array in memory or mapped from a file."""

    def __init__(
        self, plain: npt.NDArray[Any], mirrored_rows: npt.NDArray[Any] | None = None
    ) -> None:
        """Keep pixels (image, 3, height, width) uint8 or features (image, region, channel).

        Mirrored features come from `mirrored_rows`; pixels are mirrored here.
        """
        self.plain = plain
        self._mirrored = mirrored_rows
        self.is_pixels = plain.dtype == np.uint8

    def read(
        self, images: npt.NDArray[np.int64], is_mirrored: npt.NDArray[np.bool_] | None = None
    ) -> StoredRows:
        """Return the rows of `images`, mirrored where asked."""
        rows = self.plain[images]
        if is_mirrored is not None and is_mirrored.any():
            turned = images[is_mirrored]
            if self.is_pixels:
                rows[is_mirrored] = self.plain[turned][..., ::-1]
            elif self._mirrored is not None:
                rows[is_mirrored] = self._mirrored[turned]
            else:
                raise ValueError("mirrored features were not stored")
        return StoredRows(torch.from_numpy(rows))


def store_images(
    hrem: HREM, data: TrainingData, *, has_mirrored: bool, cache_folder: Path
) -> StoredImages:
    """Return what the network reads of the training images, then of the dev images.

    Args:
        hrem: The network; its backbone encodes the pictures if it is frozen.
        data: The images.
        has_mirrored: Store the features of mirrored pictures too.
        cache_folder: Where features and pixels are kept.

    Raises:
        DataError: A picture cannot be read.
    """
    if data.train.regions is not None and data.dev.regions is not None:
        return StoredRegions(ImageRegions.joined([data.train.regions, data.dev.regions]))
    assert hrem.backbone is not None and hrem.picture_transform is not None
    paths = [*data.train.image_paths, *data.dev.image_paths]
    if not hrem.backbone.config.is_frozen:
        return StoredPictures(
            cached_pixels(paths, transform=hrem.picture_transform, folder=cache_folder)
        )
    kinds = (False, True) if has_mirrored else (False,)
    network_hash = weights_hash(hrem.backbone)
    backbone = hrem.backbone.eval()
    return StoredPictures(
        *(
            cached_grid_features(
                paths,
                transform=hrem.picture_transform,
                grid_features=backbone.grid_features,
                network_hash=network_hash,
                folder=cache_folder,
                is_mirrored=is_mirrored,
                device=hrem.device,
            )
            for is_mirrored in kinds
        )
    )


class StoredEncoder:
    """The image side of a network over stored images.

    Args:
        hrem: The network, on its device.
        images: Of the run.
    """

    def __init__(self, hrem: HREM, images: StoredImages) -> None:
        self._hrem = hrem
        self._images = images

    @property
    def has_pixels(self) -> bool:
        """Whether pixels are stored, which a backbone makes regions of in every step."""
        return self._images.is_pixels

    @property
    def region_count(self) -> int:
        """How many regions the network sees of an image, padding included."""
        first = self._images.read(np.zeros(1, dtype=np.int64)).values
        # One image alone has no batch statistics.
        with in_eval_mode(self._hrem), torch.inference_mode():
            return int(self.regions(first).shape[1])

    def regions(self, values: Tensor) -> Tensor:
        """Return the regions (image, region, region_dim) of stored values, on the device."""
        on_device = values.to(self._hrem.device, non_blocking=True)
        backbone = self._hrem.backbone
        if backbone is None:
            return on_device.float()
        if self._images.is_pixels:
            return backbone(on_device)
        return average_grid(on_device.float(), backbone.config.grid_size)

    @torch.inference_mode()
    def embeddings(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Return the embeddings (image, dim) of stored images as they would be served."""
        encoded = []
        with in_eval_mode(self._hrem):
            for part in _parts(rows):
                stored = self._images.read(part)
                regions = self.regions(stored.values)
                is_padding = torch.zeros(regions.shape[:2], dtype=torch.bool, device=regions.device)
                if stored.is_padding is not None:
                    is_padding |= torch.from_numpy(stored.is_padding).to(regions.device)
                images = self._hrem.image_encoder(regions, is_padding)
                encoded.append(images.embeddings.float().cpu())
        return torch.cat(encoded)

    def means(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Return (image, channel), the mean of each image's real regions as they are stored."""
        return torch.cat([self._images.read(part).means() for part in _parts(rows)])


def _parts(rows: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    return (rows[start : start + _BATCH] for start in range(0, len(rows), _BATCH))
