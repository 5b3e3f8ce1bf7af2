"""Hubs and anti-hubs against a slow count of who is found how often."""

from collections import Counter

import numpy as np
import pytest

from model.hubness import hubness


def test_hubness_counts_skews_and_names_the_hubs() -> None:
    positions = np.array([[0, 1], [0, 2], [0, 1], [3, 0]])
    found = hubness(positions, item_count=6)
    counted = Counter(positions.ravel().tolist())
    assert found.occurrences.tolist() == [counted[item] for item in range(6)]
    assert found.top(2) == [0, 1]
    assert found.never_found_fraction == pytest.approx(2 / 6)
    values = found.occurrences.astype(float)
    moment = ((values - values.mean()) ** 3).mean() / ((values - values.mean()) ** 2).mean() ** 1.5
    assert found.skewness == pytest.approx(moment)
    assert found.skewness > 0
    assert hubness(np.array([[0], [1]]), item_count=2).skewness == 0
