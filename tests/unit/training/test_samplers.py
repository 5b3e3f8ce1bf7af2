import numpy as np
import pytest

from model.training.randomness import Purpose, stream_seed, uniforms
from model.training.samplers import RandomSampler

CAPTION_IMAGE = np.repeat(np.arange(10), [5, 1, 3, 5, 2, 5, 4, 5, 5, 5])


def sampler(per_pass: str, *, batch_size: int = 4, seed: int = 0) -> RandomSampler:
    return RandomSampler(
        CAPTION_IMAGE, batch_size=batch_size, captions_per_pass=per_pass, seed=seed
    )


def one_pass(drawn: RandomSampler, epoch: int = 0) -> list:
    return [drawn.pairs(epoch * drawn.steps_per_pass + i) for i in range(drawn.steps_per_pass)]


@pytest.mark.parametrize("per_pass", ["all", "one"])
def test_captions_belong_to_their_images(per_pass: str) -> None:
    for pairs in one_pass(sampler(per_pass)):
        np.testing.assert_array_equal(CAPTION_IMAGE[pairs.captions], pairs.images)


def test_a_pass_over_all_captions_sees_each_at_most_once() -> None:
    seen = np.concatenate([pairs.captions for pairs in one_pass(sampler("all", batch_size=8))])
    assert len(seen) == len(set(seen.tolist())) == 40


def test_a_pass_of_one_caption_an_image_sees_each_image_once() -> None:
    seen = np.concatenate([pairs.images for pairs in one_pass(sampler("one", batch_size=5))])
    assert sorted(seen.tolist()) == list(range(10))


def test_other_passes_draw_other_captions_and_in_time_all_of_them() -> None:
    drawn = sampler("one", batch_size=10)
    seen = {c for epoch in range(60) for c in one_pass(drawn, epoch)[0].captions.tolist()}
    assert seen == set(range(len(CAPTION_IMAGE)))


def test_the_pairs_of_a_step_do_not_depend_on_what_was_asked_before() -> None:
    asked_in_order, asked_once = sampler("all"), sampler("all")
    for step in range(25):
        last = asked_in_order.pairs(step)
    np.testing.assert_array_equal(last.captions, asked_once.pairs(24).captions)


def test_another_seed_gives_another_order() -> None:
    assert (sampler("all").pairs(0).captions != sampler("all", seed=1).pairs(0).captions).any()


def test_numbers_of_a_sample_do_not_depend_on_its_neighbours() -> None:
    alone = uniforms(7, 2, np.array([5]), 3, purpose=Purpose.WORD_CHANGE)
    among = uniforms(7, 2, np.array([1, 5, 9]), 8, purpose=Purpose.WORD_CHANGE)
    np.testing.assert_array_equal(alone[0], among[1, :3])


def test_numbers_are_uniform_and_differ_by_seed_epoch_and_purpose() -> None:
    samples = np.arange(4000)
    drawn = uniforms(0, 0, samples, 5, purpose=Purpose.REGION_DROP)
    assert drawn.min() >= 0 and drawn.max() < 1
    counts, _ = np.histogram(drawn, bins=10, range=(0, 1))
    assert abs(counts / drawn.size - 0.1).max() < 0.01
    assert abs(np.corrcoef(drawn.T) - np.eye(5)).max() < 0.06
    for other in (
        uniforms(1, 0, samples, 5, purpose=Purpose.REGION_DROP),
        uniforms(0, 1, samples, 5, purpose=Purpose.REGION_DROP),
        uniforms(0, 0, samples, 5, purpose=Purpose.WORD_CHANGE),
    ):
        assert abs(np.corrcoef(drawn[:, 0], other[:, 0])[0, 1]) < 0.06


def test_streams_have_seeds_of_their_own() -> None:
    seeds = {stream_seed(s, p, purpose=q) for s in range(9) for p in range(9) for q in Purpose}
    assert len(seeds) == 81 * len(Purpose)
