"""Dropped regions, changed words, mirrored pictures; training only.

- Each region is dropped with probability 0.2: it becomes padding, which no layer looks at.
- Each word is changed with probability 0.2: of those 50 % become the mask word, 10 % a random word,
  40 % are dropped. Words that open and close a caption are never touched.
- An item always keeps at least one fragment.

Source: HREM's released code (method: section 5).
"""

import numpy as np
import numpy.typing as npt
from pydantic import Field

from model.config import Section
from model.training.randomness import Purpose, uniforms
from model.training.samplers import Pairs

__all__ = ["AugmentationConfig", "changed_words", "dropped_regions", "mirrored"]

_MASKED = 0.5
_REPLACED = 0.6


class AugmentationConfig(Section):
    """How training data are varied."""

    region_drop: float = Field(0.2, ge=0, lt=1, description="Probability of dropping a region.")
    word_change: float = Field(
        0.2, ge=0, lt=1, description="Probability of masking, replacing or dropping a word."
    )
    mirror: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Probability of mirroring a picture left to right; a frozen backbone's cache "
        "then holds both. Captions that say left or right become wrong.",
    )


def dropped_regions(
    pairs: Pairs,
    region_count: int,
    *,
    probability: float,
    seed: int,
    is_padding: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """Return (pair, region): True where a region is dropped; at least one real one is kept.

    Args:
        pairs: Which samples the rows are.
        region_count: Regions of an image, padding included.
        probability: Of dropping a region.
        seed: Of the run.
        is_padding: (pair, region), True = padding, which counts as dropped; None: none is.
    """
    drawn = uniforms(seed, pairs.epoch, pairs.captions, region_count, purpose=Purpose.REGION_DROP)
    is_dropped = drawn < probability
    kept = (drawn if is_padding is None else np.where(is_padding, -1.0, drawn)).argmax(axis=1)
    is_dropped[np.arange(len(kept)), kept] = False
    return is_dropped if is_padding is None else is_dropped | is_padding


def mirrored(pairs: Pairs, *, probability: float, seed: int) -> npt.NDArray[np.bool_]:
    """Return (pair,): True where the picture is mirrored left to right."""
    drawn = uniforms(seed, pairs.epoch, pairs.captions, 1, purpose=Purpose.MIRROR)[:, 0]
    return drawn < probability


def changed_words(
    token_ids: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    pairs: Pairs,
    *,
    probability: float,
    seed: int,
    mask_id: int,
    is_special: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return (token_ids, lengths) with words masked, replaced and dropped.

    Args:
        token_ids: (caption, word); row i holds `lengths[i]` words, then anything.
        lengths: (caption,), words of each row.
        pairs: Which samples the rows are.
        probability: Of changing a word.
        seed: Of the run.
        mask_id: The word that stands for a masked word.
        is_special: (vocabulary,); True for words that are never touched nor drawn.

    Returns:
        New arrays of the same shapes; words behind the new lengths are left over.
    """
    word_count = token_ids.shape[1]
    key = (seed, pairs.epoch, pairs.captions, word_count)
    drawn = uniforms(*key, purpose=Purpose.WORD_CHANGE)
    is_real = np.arange(word_count) < lengths[:, None]
    is_changed = (drawn < probability) & is_real & ~is_special[token_ids]
    # Below the probability, the same number says what happens.
    share = drawn / max(probability, 1e-12)
    is_masked = is_changed & (share < _MASKED)
    is_replaced = is_changed & (share >= _MASKED) & (share < _REPLACED)
    is_dropped = is_changed & (share >= _REPLACED)
    nothing_left = (is_dropped == is_real).all(axis=1)
    is_dropped[nothing_left, 0] = False

    ordinary = np.flatnonzero(~is_special)
    place = (uniforms(*key, purpose=Purpose.WORD_REPLACEMENT) * len(ordinary)).astype(np.int64)
    changed = np.where(is_masked, mask_id, token_ids)
    changed = np.where(is_replaced, ordinary[place], changed)
    # A stable sort by "is gone" moves the kept words to the front in their order.
    is_gone = is_dropped | ~is_real
    order = np.argsort(is_gone, axis=1, kind="stable")
    return np.take_along_axis(changed, order, axis=1), (~is_gone).sum(axis=1)
