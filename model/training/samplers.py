"""Which image-caption pairs form a batch: a pure function of (seed, step).

- `captions_per_pass="all"`: a pass goes once over every caption, so an image may stand in a batch
  twice; `"one"`: a pass goes once over every image, with one caption drawn at random.
- The last, incomplete batch of a pass is left out (as the authors' 1,132 steps a pass of
  Flickr30K show), so every step sees the same number of pairs.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from model.training.randomness import Purpose, stream_seed, uniforms

__all__ = ["CaptionsPerPass", "Pairs", "RandomSampler"]

CaptionsPerPass: TypeAlias = Literal["all", "one"]


@dataclass(frozen=True)
class Pairs:
    """The pairs of one batch.

    Attributes:
        epoch: Which pass over the data, from 0.
        images: Positions of the images, (pair,).
        captions: Positions of the captions in `CaptionedImages.caption_texts`, (pair,).
    """

    epoch: int
    images: npt.NDArray[np.int64]
    captions: npt.NDArray[np.int64]


class RandomSampler:
    """Uniformly shuffled batches."""

    def __init__(
        self,
        caption_image: npt.NDArray[np.int64],
        *,
        batch_size: int,
        captions_per_pass: CaptionsPerPass,
        seed: int,
    ) -> None:
        """Prepare to draw from captions of known images.

        Args:
            caption_image: Position of each caption's image, ascending.
            batch_size: Pairs a batch; at most the samples of a pass.
            captions_per_pass: "all" or "one" caption of each image in a pass.
            seed: Of the order.
        """
        self._caption_image = caption_image
        self._first_caption = np.flatnonzero(np.diff(caption_image, prepend=-1))
        self._caption_count = np.diff(self._first_caption, append=len(caption_image))
        self._captions_per_pass = captions_per_pass
        self._seed = seed
        one_each = captions_per_pass == "one"
        self.samples_per_pass = len(self._first_caption) if one_each else len(caption_image)
        if not 1 <= batch_size <= self.samples_per_pass:
            raise ValueError(f"batch of {batch_size} from {self.samples_per_pass} samples")
        self.batch_size = batch_size
        self.steps_per_pass = self.samples_per_pass // batch_size
        self._captions_of_pass = lru_cache(maxsize=2)(self._shuffled_captions)

    def pairs(self, step: int) -> Pairs:
        """Return the pairs of zero-based `step`, whatever was asked before."""
        epoch, place = divmod(step, self.steps_per_pass)
        start = place * self.batch_size
        captions = self._captions_of_pass(epoch)[start : start + self.batch_size]
        return Pairs(epoch, self._caption_image[captions], captions)

    def _shuffled_captions(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the captions of a pass in their order."""
        order_seed = stream_seed(self._seed, epoch, purpose=Purpose.ORDER)
        order = np.random.default_rng(order_seed).permutation(self.samples_per_pass)
        if self._captions_per_pass == "all":
            return order
        drawn = uniforms(self._seed, epoch, order, 1, purpose=Purpose.CAPTION)[:, 0]
        place = (drawn * self._caption_count[order]).astype(np.int64)
        return self._first_caption[order] + place
