from dataclasses import replace

import pytest
import torch
from torch import nn

from model.errors import ConfigError
from model.training.config import ScheduleConfig
from model.training.optimization import (
    OptimizationConfig,
    WeightAverage,
    learning_rate_factor,
    make_optimizer,
)
from model.training.relation.instance_level import InstanceLevelConfig
from model.training.schedule import StepPlan, plan_steps


def factor(step: int, **settings: object) -> float:
    return learning_rate_factor(step, step_count=30, config=OptimizationConfig(**settings))


def test_the_rate_falls_where_the_paper_says() -> None:
    assert [factor(step) for step in (0, 14, 15, 24, 25, 29)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )


def test_absolute_steps_replace_the_fractions() -> None:
    assert [factor(step, decay_steps=(4,)) for step in (3, 4, 29)] == pytest.approx([1, 0.1, 0.1])


def test_a_cosine_falls_from_one_through_a_half_towards_zero() -> None:
    rates = [factor(step, course="cosine") for step in range(30)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1 and rates[15] == pytest.approx(0.5) and rates[29] < 0.01


def test_the_rate_rises_linearly_when_asked() -> None:
    assert [factor(step, rising_steps=4) for step in range(5)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1]
    )


def test_groups_keep_their_rates_and_leave_frozen_weights_out() -> None:
    first, second, third = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
    second.requires_grad_(False)
    optimizer = make_optimizer(
        [
            ("a", list(first.parameters()), 1e-3),
            ("b", list(second.parameters()), 1.0),
            ("c", list(third.parameters()), 1e-4),
        ],
        weight_decay=0.1,
    )
    assert [group["name"] for group in optimizer.param_groups] == ["a", "c"]
    assert [group["base_rate"] for group in optimizer.param_groups] == [1e-3, 1e-4]


def test_an_average_lies_between_the_weights_and_leaves_them_as_they_were() -> None:
    network = nn.Linear(3, 3)
    average = WeightAverage(network, decay=0.9)
    before = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 1
    average.update()
    moved = network.weight.detach().clone()
    with average.in_use():
        assert bool((network.weight > before).all()) and bool((network.weight < moved).all())
    assert torch.equal(network.weight, moved)


def plan(*, steps: int = 100, **settings: object) -> StepPlan:
    return plan_steps(
        ScheduleConfig(steps=steps),
        InstanceLevelConfig(**settings),
        opening_fraction=0.1,
        batches_per_pass=40,
    )


def test_warmup_is_a_fraction_of_all_steps() -> None:
    assert plan().instance_level_from == 24
    assert [plan().has_instance_level(step) for step in (23, 24)] == [False, True]
    assert plan(warmup_steps=3).instance_level_from == 3
    assert plan(enabled=False).instance_level_from is None
    assert [plan().is_opening(step) for step in (9, 10)] == [True, False]


def test_a_step_may_be_of_several_batches() -> None:
    plan = plan_steps(
        ScheduleConfig(epochs=3, accumulate=4),
        InstanceLevelConfig(warmup_fraction=0.5),
        opening_fraction=0.2,
        batches_per_pass=41,
    )
    assert (plan.step_count, plan.evaluate_every) == (3 * 41 // 4, 10)
    assert (plan.instance_level_from, plan.opening_step_count) == (15, 6)
    numbers = [number for step in range(plan.step_count) for number in plan.batches_of(step)]
    assert numbers == list(range(4 * plan.step_count))


def test_the_authors_warmup_is_a_fraction_of_their_steps() -> None:
    authors = plan_steps(
        ScheduleConfig(),
        InstanceLevelConfig(),
        opening_fraction=0,
        batches_per_pass=29_000 * 5 // 128,
    )
    assert authors.step_count == 33_960
    assert authors.instance_level_from == pytest.approx(8_000, rel=0.02)


def test_the_dev_images_are_looked_at_every_pass_and_at_the_end() -> None:
    looks = [step for step in range(1, 101) if plan().looks_at_dev(step)]
    assert looks == [40, 80, 100]


def test_the_state_is_saved_by_steps_and_by_minutes() -> None:
    saving = replace(plan(), save_every_steps=30, save_every_minutes=2.0)
    assert [step for step in range(1, 101) if saving.saves(step, seconds_unsaved=0)] == [30, 60, 90]
    assert [saving.saves(7, seconds_unsaved=age) for age in (119.0, 120.0)] == [False, True]
    never = replace(plan(), save_every_minutes=None)
    assert not any(never.saves(step, seconds_unsaved=1e9) for step in range(1, 101))


def test_an_instance_level_that_would_never_start_is_refused() -> None:
    with pytest.raises(ConfigError, match="would never start"):
        plan(warmup_steps=100)
