"""Laws of single steps: what is added up, and what is told of a batch that ends the run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from model.errors import BatchTooLargeError, NonFiniteLossError
from model.training.failures import BatchFailures, is_out_of_memory
from model.training.samplers import Pairs
from model.training.state import Position, write_state
from tests.unit.training.tiny_trainer import captioned_images, gradients_of, tiny_trainer
from tests.worlds import captions_of


def test_a_step_of_two_batches_has_the_sum_of_their_gradients(tmp_path: Path) -> None:
    both = gradients_of(tiny_trainer(tmp_path, batches_per_step=2), 1)
    one_each = tiny_trainer(tmp_path)
    third, fourth = gradients_of(one_each, 2), gradients_of(one_each, 3)
    assert both.keys() == third.keys() == fourth.keys()
    for name, gradient in both.items():
        assert torch.equal(gradient, third[name] + fourth[name]), name


def test_every_batch_of_a_step_has_its_own_graph_and_negatives(tmp_path: Path) -> None:
    halves = gradients_of(tiny_trainer(tmp_path, batch_size=8, batches_per_step=2), 0)
    whole = gradients_of(tiny_trainer(tmp_path, batch_size=16), 0)
    assert any(not torch.allclose(halves[name], whole[name], rtol=0.1) for name in whole)


def test_a_batch_that_is_no_number_is_named_with_its_terms(tmp_path: Path) -> None:
    trainer = tiny_trainer(tmp_path)
    with torch.no_grad():
        trainer._learner.hrem.image_encoder.projection.linear.weight.fill_(torch.inf)
    with pytest.raises(NonFiniteLossError) as caught:
        gradients_of(trainer, 0)
    said = str(caught.value)
    pairs = trainer._supply.sampler.pairs(0)
    first_image = int(pairs.images[0])
    # Five captions an image: the number of a caption counts within its image.
    assert f"image-{first_image}#{int(pairs.captions[0]) - 5 * first_image}" in said
    assert said.startswith("step 1: base and ")
    assert "base = nan" in said and "regulariser" in said


def test_a_failed_batch_is_named_in_part_and_written_whole(tmp_path: Path) -> None:
    images = np.arange(12)
    write_state(tmp_path / "training", Position(step=4), {})
    error = BatchFailures(captioned_images(), tmp_path).out_of_memory(
        6,
        Pairs(0, images, images * 5 + images % 5),
        sizes=" (12 pairs of 36 regions and 20 words)",
        device="cuda:0",
    )
    assert isinstance(error, BatchTooLargeError)
    said, path = str(error), tmp_path / "training" / "failed-batch.json"
    assert "step 7: memory of cuda:0 ran out in the batch of image-0#0, image-1#1" in said
    assert f"and 4 more (all: {path}) (12 pairs of 36 regions and 20 words)" in said
    assert "the state after step 4 is kept" in said
    assert f"--resume --output {tmp_path}" in said
    written = json.loads(path.read_text())
    assert written["step"] == 7
    assert [pair["pair"] for pair in written["pairs"]] == [f"image-{i}#{i % 5}" for i in range(12)]
    assert written["pairs"][3]["caption"] == captions_of(3)[3]
    assert written["pairs"][3]["picture"] == "3.png"


def test_memory_that_ran_out_is_told_from_other_errors() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as of_torch:
        torch.empty(2**60, dtype=torch.uint8)
    with pytest.raises(MemoryError) as of_numpy:
        np.empty(2**60, dtype=np.uint8)
    with pytest.raises(RuntimeError) as other:
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert is_out_of_memory(of_torch.value) and is_out_of_memory(of_numpy.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert not is_out_of_memory(other.value) and not is_out_of_memory(ValueError("out of memory"))
