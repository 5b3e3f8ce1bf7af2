"""Two processes with half a batch each compute what one with the whole batch does."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from model.encoders.fragment_level import EncodedItems
from model.errors import ConfigError
from model.training.distributed import Collective
from model.training.samplers import RandomSampler
from tests.unit.training.joined import run_joined
from tests.unit.training.tiny_trainer import captioned_images, gradients_of, tiny_trainer

TRAINERS: dict[str, dict[str, Any]] = {
    "all violations": {"dropout": 0.0, "loss": "all_violations"},
    "drawn negatives, two batches a step": {"dropout": 0.0, "batches_per_step": 2},
    "dropout": {"dropout": 0.3},
}


def everything(collective: Collective, output: Path) -> dict[str, Any]:
    """Return all that the tests below compare; starting processes takes longer than the work."""
    found: dict[str, Any] = {
        name: gradients_and_statistics(collective, output, settings)
        for name, settings in TRAINERS.items()
    }
    found["grid"] = normalised_grid(collective)
    found["gathered"] = gathered(collective)
    return found


def gradients_and_statistics(
    collective: Collective, output: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """Return the gradients of the second step, and the batch norm's statistics after it."""
    trainer = tiny_trainer(output, collective=collective, **settings)
    projection = trainer._learner.hrem.image_encoder.projection
    return {
        "gradient": gradients_of(trainer, 1),
        "statistics": dict(projection.batch_norm.named_buffers()),
        "size": tuple(trainer._supply.batch(1).token_ids.shape),
    }


def normalised_grid(collective: Collective) -> dict[str, torch.Tensor]:
    """Return gradients and statistics of a small network with the batch norm of a backbone."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    grid, weight = torch.randn(6, 3, 5, 5), torch.randn(6, 4, 3, 3)
    collective.span_batch_norms(network)
    start = collective.rank * 6 // collective.size
    part = slice(start, start + 6 // collective.size)
    (network(grid[part]) * weight[part]).sum().backward()
    collective.unite_gradients(network, nn.Module())
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    return gradients | dict(network.named_buffers())


def gathered(collective: Collective) -> dict[str, torch.Tensor]:
    """Return items of different lengths, gathered, and the gradient that reaches the own ones."""
    own = torch.full((2, 3), float(collective.rank), requires_grad=True)
    word_count = 2 + collective.rank
    items = collective.gathered_items(
        EncodedItems(
            embeddings=own,
            unnormalized=own.bfloat16(),
            fragments=torch.ones(2, word_count, 3, dtype=torch.bfloat16),
            is_padding=torch.zeros(2, word_count, dtype=torch.bool),
        )
    )
    (items.embeddings * torch.arange(len(items.embeddings))[:, None]).sum().backward()
    assert own.grad is not None
    is_any = torch.tensor(collective.any(word_count == 3))
    return {**vars(items), "gradient": own.grad, "any": is_any}


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return run_joined(everything, tmp_path_factory.mktemp("joined"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return everything(Collective(), tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("name", ["all violations", "drawn negatives, two batches a step"])
def test_two_processes_have_the_gradients_of_one(
    whole: dict[str, Any], halves: list[dict[str, Any]], name: str
) -> None:
    expected = whole[name]
    word_counts = {half[name]["size"][1] for half in halves}
    assert len(word_counts) == 2, "both halves are of one length: nothing would be padded"
    for found in (half[name] for half in halves):
        assert found["size"][0] == expected["size"][0] // 2
        assert found["gradient"].keys() == expected["gradient"].keys()
        assert any(name.startswith("objective.instance_level") for name in found["gradient"])
        for kind in ("gradient", "statistics"):
            for place, tensor in expected[kind].items():
                # The same sums in another order, in float32.
                scale = max(1.0, float(tensor.abs().max()))
                torch.testing.assert_close(found[kind][place], tensor, rtol=1e-5, atol=1e-5 * scale)
    # The optimiser takes equal steps from equal bits only.
    first, second = (half[name]["gradient"] for half in halves)
    assert all(torch.equal(first[place], second[place]) for place in first)


def test_dropout_differs_between_the_processes(
    whole: dict[str, Any], halves: list[dict[str, Any]]
) -> None:
    place = "hrem.image_encoder.fragment_level.relation.layer.linear1.weight"
    first, second = (half["dropout"]["gradient"][place] for half in halves)
    assert torch.equal(first, second)
    assert not torch.allclose(first, whole["dropout"]["gradient"][place], rtol=1e-3)


def test_the_batch_norms_of_a_backbone_span_the_processes(
    whole: dict[str, Any], halves: list[dict[str, Any]]
) -> None:
    for half in halves:
        assert half["grid"].keys() == whole["grid"].keys()
        for name, expected in whole["grid"].items():
            torch.testing.assert_close(half["grid"][name], expected, rtol=1e-4, atol=1e-5)


def test_what_is_gathered_stands_in_order_is_padded_and_keeps_its_own_gradient(
    halves: list[dict[str, Any]],
) -> None:
    first, second = (half["gathered"] for half in halves)
    for name in ("embeddings", "unnormalized", "fragments", "is_padding"):
        assert torch.equal(first[name], second[name])
    assert first["embeddings"][:, 0].tolist() == [0, 0, 1, 1]
    assert first["unnormalized"].dtype == first["fragments"].dtype == torch.bfloat16
    assert first["is_padding"].sum(dim=1).tolist() == [1, 1, 0, 0]
    assert first["fragments"][:, 2].sum(dim=1).tolist() == [0, 0, 3, 3]
    assert first["gradient"][:, 0].tolist() == [0, 1]
    assert second["gradient"][:, 0].tolist() == [2, 3]
    assert bool(first["any"]) and bool(second["any"])


def test_the_parts_of_a_batch_make_the_batch() -> None:
    images = captioned_images()
    sampler = RandomSampler(images.caption_image, batch_size=12, captions_per_pass="all", seed=0)
    pairs = sampler.pairs(3)
    parts = [Collective(rank, 3).share(pairs) for rank in range(3)]
    for name in ("images", "captions"):
        joined = chain.from_iterable(getattr(part, name).tolist() for part in parts)
        assert list(joined) == getattr(pairs, name).tolist()
    assert all(part.epoch == pairs.epoch for part in parts)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    Collective(0, 3).refuse_uneven(12)
    with pytest.raises(ConfigError, match="16 pairs cannot be shared by 3 processes"):
        Collective(0, 3).refuse_uneven(16)
