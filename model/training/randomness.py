"""Random numbers that are a function of (seed, epoch, sample), never of what ran before.

- The order of batches, the caption drawn for an image and every augmentation come from here, so a
  run that is resumed, or that loads its data in another thread, sees the same numbers.
- Counter-based (SplitMix64), vectorised over the samples of a batch.

Source: Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
"""

from enum import IntEnum

import numpy as np
import numpy.typing as npt

__all__ = ["Purpose", "stream_seed", "uniforms"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_TO_UNIT = 2.0**-53


class Purpose(IntEnum):
    """What a number is for: two purposes never share a number."""

    ORDER = 1
    CAPTION = 2
    REGION_DROP = 3
    WORD_CHANGE = 4
    WORD_REPLACEMENT = 5
    MIRROR = 6
    SPLIT = 7
    SHUFFLED_CAPTIONS = 8
    INITIAL_WEIGHTS = 9
    ENCODERS = 10
    OBJECTIVE = 11
    CLUSTERS = 12


def uniforms(
    seed: int, epoch: int, samples: npt.NDArray[np.int64], count: int, *, purpose: Purpose
) -> npt.NDArray[np.float64]:
    """Return (sample, count) numbers in [0, 1).

    Row i depends on `samples[i]` alone, and its first numbers do not depend on `count`.
    """
    base = np.uint64(stream_seed(seed, epoch, purpose=purpose))
    with np.errstate(over="ignore"):
        rows = _mix(base + samples.astype(np.uint64) * _GOLDEN)
        steps = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * _GOLDEN
        bits = _mix(rows[:, None] + steps[None, :])
    return (bits >> np.uint64(11)).astype(np.float64) * _TO_UNIT


def stream_seed(seed: int, position: int, *, purpose: Purpose) -> int:
    """Return a 63-bit seed for a generator, different for every seed, position and purpose."""
    state = np.array([seed], dtype=np.uint64)
    with np.errstate(over="ignore"):
        for part in (int(purpose), position):
            state = _mix(state + (np.uint64(part) + np.uint64(1)) * _GOLDEN)
    return int(state[0] >> np.uint64(1))


def _mix(bits: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return the SplitMix64 finaliser of each number."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
