"""What is like the items of a gallery fits, nearly always; what is unlike them does not."""

import numpy as np
import pytest

from index_builder.galleries.background import Background
from index_builder.galleries.calibration import FEWEST_ROWS, REFUSED_SHARE, calibrate, closeness
from tests.unit.index_builder.written_galleries import unit_rows

DIM = 32


def alike(count, seed, *, spread=1.0):
    """Unit vectors around eight directions."""
    centres = unit_rows(8, DIM, seed=100)
    draws = np.random.default_rng(seed)
    rows = centres[draws.integers(0, 8, count)] + spread * unit_rows(count, DIM, seed)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def calibrated(vectors):
    return calibrate(Background(np.arange(len(vectors)), vectors))


def test_of_queries_like_the_items_as_few_are_refused_as_said():
    calibration = calibrated(alike(1_000, seed=0))
    refused = 1 - calibration.fits(alike(4_000, seed=1)).mean()
    assert refused == pytest.approx(REFUSED_SHARE, abs=0.025)


def test_queries_unlike_the_items_are_refused():
    calibration = calibrated(alike(1_000, seed=0))
    assert calibration.fits(unit_rows(1_000, DIM, seed=2)).mean() < 0.1


def test_an_item_as_query_fits_better_than_it_fits_the_others():
    vectors = alike(200, seed=0)
    assert calibrated(vectors).fits(vectors).mean() > 1 - REFUSED_SHARE


def test_closeness_is_the_mean_of_the_three_largest_cosines():
    background, queries = unit_rows(150, DIM), unit_rows(20, DIM, seed=3)
    for query, found in zip(queries, closeness(queries, background), strict=True):
        cosines = sorted(float(query @ row) for row in background)
        assert found == pytest.approx(np.mean(cosines[-3:]), abs=1e-6)


def test_the_threshold_leaves_every_item_out_of_its_own_neighbours():
    vectors = alike(FEWEST_ROWS, seed=0)
    each = [
        closeness(vectors[[row]], np.delete(vectors, row, axis=0))[0] for row in range(len(vectors))
    ]
    assert calibrated(vectors).lowest == pytest.approx(np.quantile(each, REFUSED_SHARE), abs=1e-6)


def test_too_few_items_tell_nothing():
    assert calibrated(alike(FEWEST_ROWS - 1, seed=0)) is None
    assert calibrated(np.empty((0, DIM), dtype=np.float32)) is None
