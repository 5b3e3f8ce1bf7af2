"""Images with their captions: one type, whatever the layout of the files.

An image is a picture's file or a row of a region array; a data set holds one kind. The number of
captions of an image comes from the files, never from a constant.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.inputs.regions import ImageRegions

__all__ = ["CaptionedImages"]


@dataclass(frozen=True)
class CaptionedImages:
    """Images and the captions that describe them; position i of every field is image i.

    Attributes:
        image_ids: Ids, unique.
        image_paths: Where the pictures lie; empty where the images are regions.
        captions: The captions of each image, at least one.
        metadata: Whatever else the file said about each image.
        splits: The split of each image; an empty string where the file has none.
        regions: The regions of each image; None where the images are pictures.
    """

    image_ids: tuple[str, ...]
    image_paths: tuple[Path, ...]
    captions: tuple[tuple[str, ...], ...]
    metadata: tuple[Mapping[str, Any], ...]
    splits: tuple[str, ...]
    regions: ImageRegions | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.image_ids)

    @cached_property
    def caption_texts(self) -> tuple[str, ...]:
        """All captions, those of an image side by side, in the order of the images."""
        return tuple(caption for captions in self.captions for caption in captions)

    @cached_property
    def caption_image(self) -> npt.NDArray[np.int64]:
        """For each caption of `caption_texts` the position of its image."""
        counts = [len(captions) for captions in self.captions]
        return np.repeat(np.arange(len(self), dtype=np.int64), counts)

    def subset(self, positions: Sequence[int]) -> "CaptionedImages":
        """Return the images at `positions`, in that order."""
        return CaptionedImages(
            image_ids=tuple(self.image_ids[i] for i in positions),
            image_paths=tuple(self.image_paths[i] for i in positions if self.image_paths),
            captions=tuple(self.captions[i] for i in positions),
            metadata=tuple(self.metadata[i] for i in positions),
            splits=tuple(self.splits[i] for i in positions),
            regions=None if self.regions is None else self.regions.subset(positions),
        )

    def positions_of_splits(self, splits: Collection[str]) -> list[int]:
        """Return the positions of the images whose split is one of `splits`."""
        return [i for i, split in enumerate(self.splits) if split in splits]
