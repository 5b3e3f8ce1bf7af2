"""Small clustered unit vectors, and each kind of index built over them once."""

from pathlib import Path

import numpy as np

from index_builder.vector_index import BuiltIndex, Rows, TuningQueries, build_vector_index

COUNT, DIM = 1500, 16
BEFORE = COUNT - 300  # rows of an index that the others are added to
# kind, factory string of an expert
KINDS = [
    ("exact", None),
    ("hnsw", None),
    ("ivf", None),
    ("factory", "SQ8"),
    ("factory", "PCA8,IVF16,SQ8"),
    ("factory", "OPQ4_8,IVF16,SQ8"),
    ("factory", "IVF16_HNSW4,RaBitQ"),
]
APPROXIMATE = KINDS[1:]


def clustered_rows(count: int = COUNT, *, seed: int = 0, dim: int = DIM) -> Rows:
    """Rows around 30 centres, which are the same for every seed."""
    centres = np.random.default_rng(99).standard_normal((30, dim))
    random = np.random.default_rng(seed)
    rows = centres[random.integers(0, 30, count)] + random.standard_normal((count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def tuning_queries() -> TuningQueries:
    """What the indexes of the tests are tuned with."""
    return TuningQueries(clustered_rows(100, seed=1), "held-out rows")


def build(
    kind: str, factory: str | None, folder: Path, *, rows: Rows | None = None, **more: object
) -> BuiltIndex:
    folder.mkdir(parents=True, exist_ok=True)
    given = {"queries": tuning_queries()} | more
    rows = clustered_rows() if rows is None else rows
    return build_vector_index(kind, rows, folder=folder, factory=factory, **given)
