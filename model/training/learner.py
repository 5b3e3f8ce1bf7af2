"""A network that learns: one step from a few batches.

- What a step draws is a function of (seed, step): dropout and sampled negatives here, batches and
  augmentation in `batch_supply`.
- A step learns from one batch, or from several whose gradients are added; each of these has a
  number, counted over the run, and its own graph and negatives.
- Several processes may share a batch (`distributed`): each encodes its part, all compute the same
  objective over the whole.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from math import isfinite

import torch

from model.hrem import HREM
from model.precision import Precision
from model.training.batch_supply import BatchSupply
from model.training.batches import Batch
from model.training.distributed import Collective
from model.training.failures import BatchFailures, is_out_of_memory
from model.training.objective import LossTerms, Objective
from model.training.optimization import (
    OptimizationConfig,
    WeightAverage,
    learning_rate_factor,
    make_optimizer,
    parameter_groups,
)
from model.training.randomness import Purpose, stream_seed
from model.training.schedule import StepPlan
from model.training.stored_images import StoredEncoder

__all__ = ["Learner"]


class Learner:
    """A network with its objective and optimiser.

    Args:
        hrem: The network, on the device it trains on.
        objective: The losses and the instance level, on the same device.
        images: The image side of the network, over the stored images.
        supply: Where the batches come from.
        plan: What happens at which step.
        optimization: Rates and their course.
        precision: Of the encoders' products; weights, losses and graph are float32.
        seed: Of everything random.
        failures: Makes the error of a batch that ends the run.
        collective: The processes that share each batch.

    Attributes:
        optimizer: AdamW over what is trained.
        average: The running average of the weights, if one is kept.
        learning_rate: Of the last step, for everything without a rate of its own.
    """

    def __init__(
        self,
        hrem: HREM,
        objective: Objective,
        *,
        images: StoredEncoder,
        supply: BatchSupply,
        plan: StepPlan,
        optimization: OptimizationConfig,
        precision: Precision,
        seed: int,
        failures: BatchFailures,
        collective: Collective,
    ) -> None:
        self.hrem = hrem
        self.objective = objective
        self.learning_rate = 0.0
        self._images = images
        self._supply = supply
        self._plan = plan
        self._optimization = optimization
        self._precision = precision
        self._seed = seed
        self._failures = failures
        self._collective = collective
        collective.span_batch_norms(hrem)
        self.optimizer = make_optimizer(
            parameter_groups(hrem, objective, optimization),
            weight_decay=optimization.weight_decay,
        )
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = (
            WeightAverage(hrem, decay=optimization.weight_average_decay)
            if optimization.weight_average_decay is not None
            else None
        )

    def begin(self) -> None:
        """Switch to training mode, with the weights of the main process in every process."""
        for module in (self.hrem, self.objective):
            module.train()
            self._collective.copy_from_main(*module.parameters(), *module.buffers())

    def take_step(self, step: int, batches: Iterator[Batch]) -> dict[str, float]:
        """Learn from the batches of zero-based `step`; return the terms of their loss.

        Raises:
            NonFiniteLossError: A loss term or a gradient became NaN or infinite.
            BatchTooLargeError: Memory ran out.
        """
        terms = self.add_gradients(step, batches)
        factor = learning_rate_factor(
            step, step_count=self._plan.step_count, config=self._optimization
        )
        self.learning_rate = self._optimization.learning_rate * factor
        for group in self.optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._optimization.clip_norm)
        if not bool(norm.isfinite()):
            pairs = [self._supply.sampler.pairs(number) for number in self._plan.batches_of(step)]
            raise self._failures.non_finite(step, pairs, terms | {"gradient": float(norm)})
        # The first step makes the optimiser's state, twice the size of the weights.
        with self._memory_errors_told(step, self._plan.batches_of(step)[-1]):
            self.optimizer.step()
        if self.average is not None:
            self.average.update()
        return terms

    def add_gradients(self, step: int, batches: Iterator[Batch]) -> dict[str, float]:
        """Leave the sum of the batches' gradients at the parameters; return the summed terms."""
        self.optimizer.zero_grad(set_to_none=True)
        summed: dict[str, float] = {}
        for number in self._plan.batches_of(step):
            with self._memory_errors_told(step, number) as sizes:
                batch = next(batches)
                sizes.append(batch.sizes)
                terms = self._losses(step, number, batch)
                shown = {name: float(term) for name, term in terms.named().items()}
                if not all(isfinite(value) for value in shown.values()):
                    pairs = self._supply.sampler.pairs(number)
                    raise self._failures.non_finite(step, [pairs], shown)
                terms.total.backward()  # type: ignore[no-untyped-call]
            for name, value in shown.items():
                summed[name] = summed.get(name, 0.0) + value
        self._collective.unite_gradients(self.hrem, self.objective)
        return summed

    def _losses(self, step: int, number: int, batch: Batch) -> LossTerms:
        """Encode the pairs of a batch and compare them."""
        device = self.hrem.device
        place = number * self._collective.size + self._collective.rank
        torch.manual_seed(stream_seed(self._seed, place, purpose=Purpose.ENCODERS))
        with torch.autocast(device.type, torch.bfloat16, enabled=self._precision == "bfloat16"):
            images = self.hrem.image_encoder(
                self._images.regions(batch.image_values), batch.is_dropped.to(device)
            )
            captions = self.hrem.text_encoder(
                batch.token_ids.to(device), batch.is_word_padding.to(device)
            )
        torch.manual_seed(stream_seed(self._seed, number, purpose=Purpose.OBJECTIVE))
        return self.objective(
            self._collective.gathered_items(images),
            self._collective.gathered_items(captions),
            self._collective.gathered(batch.image_ids).to(device),
            with_instance_level=self._plan.has_instance_level(step),
            is_opening=self._plan.is_opening(step),
        )

    @contextmanager
    def _memory_errors_told(self, step: int, number: int) -> Iterator[list[str]]:
        """Turn an error of memory into one that names the batch, of the sizes that are put in."""
        sizes: list[str] = []
        try:
            yield sizes
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise self._failures.out_of_memory(
                step,
                self._supply.own_pairs(number),
                sizes="".join(sizes),
                device=str(self.hrem.device),
            ) from error
