"""Is one run better than another, or were these images just kind to it? A paired bootstrap.

Images are drawn with replacement, and the captions of an image go with it; both runs see the same
draw, so that what is hard for both cancels. Ranks stay those of the whole gallery: the question is
how far the figures depend on which queries were asked.

With several seeds a run, the figures are means over its seeds. The interval then speaks of the
images; the spread between seeds is another question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Difference", "RunRanks", "paired_bootstrap"]

_CUTS = (1, 5, 10)
_PART_DRAWS = 4_000_000


@dataclass(frozen=True)
class RunRanks:
    """Zero-based ranks of one run."""

    image_to_text: Int[np.ndarray, " image"]
    text_to_image: Int[np.ndarray, " caption"]


@dataclass(frozen=True)
class Difference:
    """Second run minus first run, in points, with an interval of percentiles."""

    estimate: float
    low: float
    high: float


def paired_bootstrap(
    first: Sequence[RunRanks],
    second: Sequence[RunRanks],
    caption_image: Int[np.ndarray, " caption"],
    *,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Difference]:
    """Return how much better the second run is, for `rsum` and for each of the six recalls.

    Keys are `rsum`, `image_to_text.recall_at_1` and so on.

    Args:
        first: The ranks of each seed of one run.
        second: The ranks of each seed of the other, on the same images and captions.
        caption_image: Row of the image that each caption belongs to.
        resamples: How often the images are drawn.
        confidence: Share of the resampled differences that the interval holds.
        seed: Of the draws.

    Raises:
        ValueError: A run has no seed, or its ranks are not of these images and captions.
    """
    image_count = _image_count(first, second, caption_image)
    caption_counts = np.bincount(caption_image, minlength=image_count).astype(np.float64)
    gained = _hits(second, caption_image, image_count) - _hits(first, caption_image, image_count)
    # Six columns of hits gained, and the number of captions: all that a draw needs to add up.
    totals = np.column_stack([gained, caption_counts])
    drawn = _recalls(_resampled(totals, resamples, seed), image_count)
    actual = _recalls(totals.sum(axis=0, keepdims=True), image_count)[0]
    tail = 50 * (1 - confidence)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    names = [f"{way}.recall_at_{k}" for way in ("image_to_text", "text_to_image") for k in _CUTS]
    return {
        name: Difference(float(actual[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(["rsum", *names])
    }


def _image_count(
    first: Sequence[RunRanks], second: Sequence[RunRanks], caption_image: np.ndarray
) -> int:
    if not first or not second:
        raise ValueError("give the ranks of at least one seed of each run")
    image_count = len(first[0].image_to_text)
    for run in (*first, *second):
        sizes = (len(run.image_to_text), len(run.text_to_image))
        if sizes != (image_count, len(caption_image)):
            raise ValueError(
                f"runs must be ranked on the same {image_count} images and {len(caption_image)} "
                f"captions; one has {sizes[0]} and {sizes[1]}"
            )
    return image_count


def _hits(
    runs: Sequence[RunRanks], caption_image: np.ndarray, image_count: int
) -> Float[np.ndarray, "image recall"]:
    """Return for each image its hits at 1, 5, 10 and those of its captions, mean over seeds."""
    columns = np.zeros((image_count, 2 * len(_CUTS)))
    for run in runs:
        for place, k in enumerate(_CUTS):
            columns[:, place] += run.image_to_text < k
            columns[:, len(_CUTS) + place] += np.bincount(
                caption_image, weights=run.text_to_image < k, minlength=image_count
            )
    return columns / len(runs)


def _resampled(
    totals: Float[np.ndarray, "image column"], resamples: int, seed: int
) -> Float[np.ndarray, "resample column"]:
    """Return the column sums over each draw of as many images as there are."""
    image_count = len(totals)
    draws = np.random.default_rng(seed)
    sums = np.empty((resamples, totals.shape[1]))
    step = max(1, _PART_DRAWS // image_count)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        # How often each image is drawn: one bincount for many resamples, each in its own range.
        drawn = draws.integers(image_count, size=(count, image_count))
        drawn += image_count * np.arange(count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=count * image_count)
        sums[start : start + count] = weights.reshape(count, image_count) @ totals
    return sums


def _recalls(
    sums: Float[np.ndarray, "resample column"], image_count: int
) -> Float[np.ndarray, "resample figure"]:
    """Return rSum and the six recalls in percent from the summed columns."""
    image_hits, caption_hits, caption_counts = np.split(sums, [len(_CUTS), 2 * len(_CUTS)], axis=1)
    recalls = 100 * np.hstack([image_hits / image_count, caption_hits / caption_counts])
    return np.hstack([recalls.sum(axis=1, keepdims=True), recalls])
