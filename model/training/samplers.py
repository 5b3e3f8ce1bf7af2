"""Which image-caption pairs form a batch: a pure function of (seed, step).

- `captions_per_pass="all"`: a pass goes once over every caption, so an image may stand in a batch
  twice; `"one"`: a pass goes once over every image, with one caption drawn at random.
- The last, incomplete batch of a pass is left out (as the authors' 1,132 steps a pass of
  Flickr30K show), so every step sees the same number of pairs.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from model.training.randomness import Purpose, stream_seed, uniforms

__all__ = ["CaptionSchedule", "CaptionsPerPass", "Pairs", "RandomSampler", "Sampler"]

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


class CaptionSchedule:
    """Which captions a pass shows.

    Attributes:
        shows_all: Every caption, not one of each image.
        samples_per_pass: Pairs of a pass: images ("one") or captions ("all").
    """

    def __init__(
        self,
        caption_image: npt.NDArray[np.int64],
        *,
        captions_per_pass: CaptionsPerPass,
        seed: int,
    ) -> None:
        """Prepare for captions of known images.

        Args:
            caption_image: Position of each caption's image, ascending.
            captions_per_pass: "all" or "one" caption of each image in a pass.
            seed: Of the drawn captions and their order.
        """
        self._caption_image = caption_image
        self._first_caption = np.flatnonzero(np.diff(caption_image, prepend=-1))
        self._caption_count = np.diff(self._first_caption, append=len(caption_image))
        self.shows_all = captions_per_pass == "all"
        self._seed = seed
        counted = caption_image if self.shows_all else self._first_caption
        self.samples_per_pass = len(counted)

    def drawn(self, epoch: int, images: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return one random caption of each image."""
        number = uniforms(self._seed, epoch, images, 1, purpose=Purpose.CAPTION)[:, 0]
        place = (number * self._caption_count[images]).astype(np.int64)
        return self._first_caption[images] + place

    def rounds(self, epoch: int) -> Iterator[npt.NDArray[np.int64]]:
        """Yield captions such that each image stands at most once in a round.

        "one" is a single round; with "all" an image with five captions stands in five.
        """
        if not self.shows_all:
            yield self.drawn(epoch, np.arange(len(self._first_caption)))
            return
        captions = np.arange(len(self._caption_image))
        number = uniforms(self._seed, epoch, captions, 1, purpose=Purpose.CAPTION)[:, 0]
        # By image, then at random within each.
        order = np.lexsort((number, self._caption_image))
        turn = np.arange(len(order)) - self._first_caption[self._caption_image[order]]
        for round_ in range(int(self._caption_count.max())):
            yield order[turn == round_]


class Sampler(ABC):
    """Says which pairs form the batch of a step; the kinds differ in the order of a pass.

    Attributes:
        batch_size: Pairs a batch.
        samples_per_pass: Pairs of a pass.
        steps_per_pass: Whole batches of a pass.
    """

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
        self._schedule = CaptionSchedule(
            caption_image, captions_per_pass=captions_per_pass, seed=seed
        )
        self._caption_image = caption_image
        self._seed = seed
        self.batch_size = batch_size
        self.samples_per_pass = self._schedule.samples_per_pass
        if not 1 <= batch_size <= self.samples_per_pass:
            raise ValueError(f"batch of {batch_size} from {self.samples_per_pass} samples")
        self.steps_per_pass = self.samples_per_pass // batch_size
        self._captions_of_pass = lru_cache(maxsize=2)(self._ordered_captions)

    def pairs(self, step: int) -> Pairs:
        """Return the pairs of zero-based `step`, whatever was asked before."""
        epoch, place = divmod(step, self.steps_per_pass)
        start = place * self.batch_size
        captions = self._captions_of_pass(epoch)[start : start + self.batch_size]
        return Pairs(epoch, self._caption_image[captions], captions)

    @abstractmethod
    def _ordered_captions(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the captions of a pass in their order."""

    def _random_of_pass(self, epoch: int) -> np.random.Generator:
        """Return the source of the order of a pass."""
        return np.random.default_rng(stream_seed(self._seed, epoch, purpose=Purpose.ORDER))


class RandomSampler(Sampler):
    """Uniformly shuffled batches."""

    def _ordered_captions(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the captions of a pass in their order."""
        order = self._random_of_pass(epoch).permutation(self.samples_per_pass)
        return order if self._schedule.shows_all else self._schedule.drawn(epoch, order)
