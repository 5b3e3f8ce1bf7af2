"""What the calibration benchmark counts, against slow readings of the definitions."""

import numpy as np
import pytest

from benchmarks.calibration import area_under_curve, words_of


@pytest.mark.parametrize("digits", [1, 8])
def test_the_area_is_the_chance_that_one_of_ours_is_larger_a_tie_being_half(digits):
    draws = np.random.default_rng(0)
    own, others = draws.random(60).round(digits) + 0.2, draws.random(80).round(digits)
    won = [(a > b) + (a == b) / 2 for a in own for b in others]
    assert area_under_curve(own, others) == pytest.approx(np.mean(won))
    assert area_under_curve(own + 2, others) == 1
    assert area_under_curve(others, others) == pytest.approx(0.5)


def test_words_are_counted_as_the_tokenizer_cuts_them():
    assert words_of("A man's T-shirt , 2 dogs -- on_grass .") == [
        "a", "man's", "t-shirt", "2", "dogs", "on", "grass",
    ]  # fmt: skip
