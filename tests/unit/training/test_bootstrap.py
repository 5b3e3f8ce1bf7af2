"""The paired bootstrap against a slow loop, and how often its interval holds the truth."""

import numpy as np
import pytest

from model.training import bootstrap
from model.training.bootstrap import RunRanks, paired_bootstrap

# Images with one to three captions, not side by side.
OWNER = np.array([0, 1, 2, 3, 4, 5, 6, 0, 2, 2, 5, 6])


def made_up(seed: int, *, images: int = 7, captions: int = len(OWNER)) -> RunRanks:
    draws = np.random.default_rng(seed)
    return RunRanks(draws.integers(15, size=images), draws.integers(15, size=captions))


def slow_figures(run: RunRanks, images: list[int]) -> list[float]:
    """Return rSum and the six recalls of the images given, with their captions, repeats counted."""
    captions = [j for i in images for j in range(len(OWNER)) if OWNER[j] == i]
    recalls = [
        100 * sum(ranks[place] < k for place in chosen) / len(chosen)
        for ranks, chosen in ((run.image_to_text, images), (run.text_to_image, captions))
        for k in (1, 5, 10)
    ]
    return [sum(recalls), *recalls]


def test_a_resample_is_the_recall_of_the_drawn_images_with_their_captions(monkeypatch) -> None:
    monkeypatch.setattr(bootstrap, "_PART_DRAWS", 7 * 40)  # several parts
    first, second = [made_up(0), made_up(1)], [made_up(2), made_up(3), made_up(4)]
    draws = np.random.default_rng(5)
    differences = []
    for _ in range(100):
        images = draws.integers(7, size=7).tolist()
        of_first = np.mean([slow_figures(run, images) for run in first], axis=0)
        of_second = np.mean([slow_figures(run, images) for run in second], axis=0)
        differences.append(of_second - of_first)
    found = paired_bootstrap(first, second, OWNER, resamples=100, confidence=0.8, seed=5)
    low, high = np.percentile(differences, [10, 90], axis=0)
    np.testing.assert_allclose([d.low for d in found.values()], low)
    np.testing.assert_allclose([d.high for d in found.values()], high)
    everything = list(range(7))
    whole = np.mean([slow_figures(r, everything) for r in second], axis=0) - np.mean(
        [slow_figures(r, everything) for r in first], axis=0
    )
    np.testing.assert_allclose([d.estimate for d in found.values()], whole, atol=1e-9)
    assert list(found)[:2] == ["rsum", "image_to_text.recall_at_1"]


def test_a_run_differs_from_itself_by_nothing_and_the_other_way_round_by_the_opposite() -> None:
    one, other = made_up(0), made_up(1)
    for difference in paired_bootstrap([one], [one], OWNER, resamples=50).values():
        assert (difference.estimate, difference.low, difference.high) == (0, 0, 0)
    there = paired_bootstrap([one], [other], OWNER, resamples=50)
    back = paired_bootstrap([other], [one], OWNER, resamples=50)
    for name, difference in there.items():
        assert difference.low == pytest.approx(-back[name].high)
        assert difference.estimate == pytest.approx(-back[name].estimate)


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0)
    held = 0
    worlds, images = 300, 120
    owner = np.repeat(np.arange(images), 2)
    for world in range(worlds):
        # Both runs find the same easy images; the second finds 10 % more of them, in truth.
        ease = draws.random(images)
        first = RunRanks(np.where(ease < 0.4, 0, 20), np.where(np.repeat(ease, 2) < 0.4, 0, 20))
        second = RunRanks(np.where(ease < 0.5, 0, 20), np.where(np.repeat(ease, 2) < 0.5, 0, 20))
        found = paired_bootstrap([first], [second], owner, resamples=400, seed=world)["rsum"]
        held += found.low <= 60 <= found.high  # six recalls, each 10 points better
    # 95 % of 300 is 285; the binomial spread is 3.8, and few images make the interval short.
    assert 265 <= held <= 297


def test_runs_on_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="same 7 images and 12 captions; one has 6 and 12"):
        paired_bootstrap([made_up(0)], [made_up(1, images=6)], OWNER)
    with pytest.raises(ValueError, match="at least one seed"):
        paired_bootstrap([made_up(0)], [], OWNER)
