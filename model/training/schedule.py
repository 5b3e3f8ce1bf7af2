"""What happens at which step of a run."""

from dataclasses import dataclass

from model.errors import ConfigError
from model.training.config import ScheduleConfig
from model.training.relation.instance_level import InstanceLevelConfig

__all__ = ["StepPlan", "plan_steps"]


@dataclass(frozen=True)
class StepPlan:
    """The course of a run.

    Attributes:
        step_count: All steps.
        opening_step_count: How many of the first steps use the opening loss.
        instance_level_from: Zero-based first step with the instance level; None = never.
        warmup_step_count: Steps after which the embeddings may be trusted: what the warm-up of an
            instance level is, or would be.
        evaluate_every: Steps between two looks at the dev images.
        batches_per_step: Batches whose gradients are added in one step.
        save_every_steps: Steps between two saved states; None = at looks and at the end.
        save_every_minutes: Longest time that a kill may cost; None = however long.
    """

    step_count: int
    opening_step_count: int
    instance_level_from: int | None
    warmup_step_count: int
    evaluate_every: int
    batches_per_step: int = 1
    save_every_steps: int | None = None
    save_every_minutes: float | None = None

    def has_instance_level(self, step: int) -> bool:
        """Return whether zero-based `step` runs with the instance level."""
        return self.instance_level_from is not None and step >= self.instance_level_from

    def is_warm(self, step: int) -> bool:
        """Return whether the warm-up is over before zero-based `step`."""
        return step >= self.warmup_step_count

    def is_opening(self, step: int) -> bool:
        """Return whether zero-based `step` uses the opening loss."""
        return step < self.opening_step_count

    def looks_at_dev(self, steps_done: int) -> bool:
        """Return whether the dev images are looked at after so many steps."""
        return steps_done % self.evaluate_every == 0 or steps_done == self.step_count

    def batches_of(self, step: int) -> range:
        """Return the numbers, counted over the run, of the batches of zero-based `step`."""
        return range(step * self.batches_per_step, (step + 1) * self.batches_per_step)

    def saves(self, steps_done: int, *, seconds_unsaved: float) -> bool:
        """Return whether the state is saved after so many steps, the last one being so old."""
        by_steps = self.save_every_steps is not None and steps_done % self.save_every_steps == 0
        minutes = self.save_every_minutes
        return by_steps or (minutes is not None and seconds_unsaved >= 60 * minutes)


def plan_steps(
    schedule: ScheduleConfig,
    instance_level: InstanceLevelConfig,
    *,
    opening_fraction: float,
    batches_per_pass: int,
) -> StepPlan:
    """Return the course of a run; where steps are counted, a step is one of the optimiser.

    Args:
        schedule: How long, and how often what happens.
        instance_level: When it starts.
        opening_fraction: Share of the steps with the opening loss.
        batches_per_pass: Batches in one pass over the training data. A step of several may
            reach into the next pass; no pair is left out or seen twice for that.

    Raises:
        ConfigError: The instance level is on but would never start.
    """
    batch_count = schedule.epochs * batches_per_pass
    step_count = schedule.steps or max(1, batch_count // schedule.accumulate)
    warmup = instance_level.warmup_steps
    if warmup is None:
        warmup = round(instance_level.warmup_fraction * step_count)
    if instance_level.enabled and warmup >= step_count:
        raise ConfigError(
            [
                f"instance_level.warmup_steps = {warmup}: the run has {step_count} steps, so "
                "the instance level would never start; shorten the warm-up or set "
                "--no-instance-level.enabled"
            ]
        )
    return StepPlan(
        step_count=step_count,
        opening_step_count=round(opening_fraction * step_count),
        instance_level_from=warmup if instance_level.enabled else None,
        warmup_step_count=warmup,
        evaluate_every=schedule.evaluate_every or max(1, batches_per_pass // schedule.accumulate),
        batches_per_step=schedule.accumulate,
        save_every_steps=schedule.save_every_steps,
        save_every_minutes=schedule.save_every_minutes,
    )
