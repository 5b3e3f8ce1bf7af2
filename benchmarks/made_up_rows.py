"""Made-up unit vectors, the same ones every time, in two distributions.

- clustered: equally large, equally wide clusters in 64 dimensions, which flatter inverted lists;
- realistic: a common direction that all rows share, a spectrum that falls like a power, clusters
  whose sizes follow Zipf's law, and noise with heavy tails.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from index_builder.vector_index import Rows

__all__ = ["LATENT_DIM", "Distribution", "made_up_blocks", "made_up_rows"]

Distribution = Literal["clustered", "realistic"]
LATENT_DIM = 64

_ROWS_AT_ONCE = 16_384


def made_up_blocks(
    distribution: Distribution, count: int, dim: int, *, seed: int = 1
) -> Iterator[tuple[int, Rows]]:
    """Yield the first row number of every block of (count, dim) vectors, and the block."""
    for start in range(0, count, _ROWS_AT_ONCE):
        row_count = min(_ROWS_AT_ONCE, count - start)
        yield start, made_up_rows(distribution, row_count, dim, seed=seed + start)


def made_up_rows(distribution: Distribution, count: int, dim: int, *, seed: int) -> Rows:
    """Return unit vectors; the distribution is the same for every seed, the rows are not."""
    world, random = np.random.default_rng(0), np.random.default_rng(seed)
    cluster_count = 1000
    if distribution == "clustered":
        centres = world.standard_normal((cluster_count, LATENT_DIM))
        latent = centres[random.integers(0, cluster_count, count)]
        latent = latent + 0.5 * random.standard_normal((count, LATENT_DIM))
        rows = latent @ world.standard_normal((LATENT_DIM, dim))
    else:
        spectrum = np.arange(1, dim + 1) ** -0.5
        centres = world.standard_normal((cluster_count, dim)) * spectrum
        common = world.standard_normal(dim) * spectrum.mean()
        weights = 1 / np.arange(1, cluster_count + 1)
        clusters = random.choice(cluster_count, count, p=weights / weights.sum())
        noise = random.standard_t(4, (count, dim)) * spectrum
        rows = common + centres[clusters] + noise
    unit: Rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit
