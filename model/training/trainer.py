"""The training loop; read `Trainer.run` first.

- What a step sees and draws is a function of (seed, step): batches, augmentation, dropout, sampled
  negatives. A run that stops between two steps and goes on later ends with the same bits.
- A step learns from one batch, or from several whose gradients are added; each of these has a
  number, counted over the run, and its own graph and negatives.
- Ctrl-C (or a termination signal) lets the step end, saves, and says how to resume.
- Several processes may share a batch (`distributed`); each encodes its part, all compute the same
  objective over the whole, and the main one alone looks at the dev images and saves.
- The checkpoint folder holds the best network on the dev images; `training/` beside it holds the
  last one and whatever else going on needs.
- The state is written before the checkpoint that it makes the best, and going on from such a state
  writes that checkpoint again: whatever moment a process is killed at, the two agree.
"""

import signal
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from types import FrameType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import console
from model.errors import CheckpointError
from model.hrem import HREM
from model.metrics import RetrievalReport, evaluate_retrieval
from model.precision import Precision
from model.training.batches import Batch, BatchMaker, prefetched
from model.training.distributed import Collective
from model.training.evaluation import encode_distinct
from model.training.failures import BatchFailures, is_out_of_memory
from model.training.monitor import Monitor
from model.training.neighbours import NeighbourSampler
from model.training.objective import LossTerms, Objective
from model.training.optimization import (
    OptimizationConfig,
    WeightAverage,
    learning_rate_factor,
    make_optimizer,
    parameter_groups,
)
from model.training.randomness import Purpose, stream_seed
from model.training.samplers import Sampler
from model.training.schedule import StepPlan
from model.training.state import (
    Position,
    module_tensors,
    optimizer_tensors,
    read_state,
    remove_leftovers,
    restore_optimizer,
    saved_step,
    under,
    write_state,
)
from model.training.stored_images import StoredEncoder, StoredImages

__all__ = ["DevImages", "Trainer"]
_MOST_WAITING = 0.05
_STEPS_BEFORE_WARNING = 50


@dataclass(frozen=True)
class DevImages:
    """The images that select the checkpoint.

    Attributes:
        rows: Their rows in the stored pictures.
        captions: All their captions.
        caption_image: For each caption the position of its image among `rows`.
    """

    rows: npt.NDArray[np.int64]
    captions: tuple[str, ...]
    caption_image: Tensor


class Trainer:
    """A network in training: takes steps, looks at the dev images, keeps the best, saves itself.

    Args:
        hrem: The network, on the device it trains on.
        objective: The losses and the instance level, on the same device.
        images: What the network reads of every image, training and dev.
        sampler: Which pairs form a batch.
        batches: Makes their tensors.
        dev: Images that select the checkpoint.
        plan: What happens at which step.
        optimization: Rates and their course.
        precision: Of the encoders' products; weights, losses and graph are float32.
        seed: Of everything random.
        output: The checkpoint folder.
        failures: Makes the error of a batch that ends the run.
        workers: Threads that make batches ahead.
        collective: The processes that share each batch.
    """

    def __init__(
        self,
        hrem: HREM,
        objective: Objective,
        *,
        images: StoredImages,
        sampler: Sampler,
        batches: BatchMaker,
        dev: DevImages,
        plan: StepPlan,
        optimization: OptimizationConfig,
        precision: Precision,
        seed: int,
        output: Path,
        failures: BatchFailures,
        workers: int = 1,
        collective: Collective | None = None,
    ) -> None:
        self.hrem = hrem
        self.objective = objective
        self.position = Position()
        self._images = StoredEncoder(hrem, images)
        self._has_pixels = images.is_pixels
        self._sampler = sampler
        self._batches = batches
        self._dev = dev
        self._plan = plan
        self._optimization = optimization
        self._precision = precision
        self._seed = seed
        self._output = output
        self._failures = failures
        self._workers = workers
        self._collective = collective or Collective()
        self._collective.span_batch_norms(hrem)
        self._optimizer = make_optimizer(
            parameter_groups(hrem, objective, optimization),
            weight_decay=optimization.weight_decay,
        )
        self._parameters = [p for group in self._optimizer.param_groups for p in group["params"]]
        self._average = (
            WeightAverage(hrem, decay=optimization.weight_average_decay)
            if optimization.weight_average_decay is not None
            else None
        )
        self._saved_step: int | None = None
        self._saved_at = time.monotonic()
        self._stop_asked = False
        self._learning_rate = 0.0

    def run(self) -> bool:
        """Take all steps that are left; return False where the run was asked to stop early.

        Raises:
            NonFiniteLossError: A loss term or a gradient became NaN or infinite.
            BatchTooLargeError: Memory ran out in a step.
        """
        first_step = self.position.step
        self._saved_at = time.monotonic()
        step_count, each = self._plan.step_count, self._plan.batches_per_step
        monitor = Monitor(
            self._output / "training" if self._collective.is_main else None,
            first_step=first_step,
            step_count=step_count,
            batch_size=self._sampler.batch_size * each,
        )
        made_ahead = closing(self._batches_from(first_step * each))
        for module in (self.hrem, self.objective):
            module.train()
            self._collective.copy_from_main(*module.parameters(), *module.buffers())
        with monitor, self._stop_on_signal(), made_ahead as batches:
            started = time.monotonic() - self.position.seconds
            for step in range(first_step, step_count):
                self.position.add_terms(self._take_step(step, batches))
                means = self.position.mean_terms()
                monitor.step_done(step + 1, means, learning_rate=self._learning_rate)
                self.position.step = step + 1
                self.position.seconds = time.monotonic() - started
                self._warn_of_waiting(step - first_step)
                if self._collective.is_main:
                    self._look_or_save(monitor)
                if self._collective.any(self._stop_asked):
                    break
            if self._collective.is_main and self.position.step != self._saved_step:
                self.save()
        return self.position.step == step_count

    def save(self) -> None:
        """Write everything that going on needs into `training/`."""
        tensors = module_tensors("hrem", self.hrem) | module_tensors("objective", self.objective)
        for name, tensor in optimizer_tensors(self._optimizer).items():
            tensors[f"optimizer.{name}"] = tensor
        if self._average is not None:
            for place, tensor in enumerate(self._average.averaged):
                tensors[f"average.{place}"] = tensor
        if isinstance(self._sampler, NeighbourSampler) and self._sampler.clusters is not None:
            tensors["sampler.clusters"] = torch.from_numpy(self._sampler.clusters)
        write_state(self._output / "training", self.position, tensors)
        self._saved_step = self.position.step
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Put back what `save` wrote.

        Raises:
            CheckpointError: There is no state, or it belongs to another network.
        """
        self.position, tensors = read_state(self._output / "training")
        self._saved_step = self.position.step
        weights = under("hrem", tensors)
        try:
            self._refuse_another_backbone(weights)
            self.hrem.load_state_dict(weights)
            self.objective.load_state_dict(under("objective", tensors))
        except RuntimeError as error:
            raise CheckpointError(
                f"the run in '{self._output}' was of another network than its settings and data "
                "make now; put back the captions that it began with, or start a new run"
            ) from error
        restore_optimizer(self._optimizer, under("optimizer", tensors))
        if isinstance(self._sampler, NeighbourSampler) and "sampler.clusters" in tensors:
            self._sampler.clusters = tensors["sampler.clusters"].numpy()
        if self._average is not None:
            averaged = under("average", tensors)
            self._average.restore(
                [averaged[str(place)] for place in range(len(averaged))],
                update_count=self.position.step,
            )
        if not self._collective.is_main:
            return
        remove_leftovers(self._output / "training")
        if self.position.best_rsum is not None and self.position.best_step == self.position.step:
            self._write_best()

    def _refuse_another_backbone(self, weights: dict[str, Tensor]) -> None:
        """Features of a frozen backbone are stored, so loading its old weights would not do."""
        backbone = self.hrem.backbone
        if backbone is None or not backbone.config.is_frozen:
            return
        stored = under("backbone", weights)
        for name, tensor in backbone.state_dict().items():
            if name not in stored or not torch.equal(tensor.cpu(), stored[name]):
                raise CheckpointError(
                    f"the run in '{self._output}' began with another backbone; give that one, or "
                    "start a new run"
                )

    def _batches_from(self, first: int) -> Generator[Batch]:
        """Yield the batches of the run from number `first` on, made ahead within a pass.

        The next pass of a neighbour sampler may be of other groups.
        """
        stop = self._plan.step_count * self._plan.batches_per_step
        length = stop
        if isinstance(self._sampler, NeighbourSampler):
            length = self._sampler.steps_per_pass
        while first < stop:
            if isinstance(self._sampler, NeighbourSampler) and first % length == 0:
                self._find_neighbours(self._sampler, first)
            pass_end = min(stop, (first // length + 1) * length)
            numbers = range(first, pass_end)
            asked = time.monotonic()
            for _, batch in prefetched(self._batch, numbers, workers=self._workers):
                self.position.waiting_seconds += time.monotonic() - asked
                yield batch
                asked = time.monotonic()
            first = pass_end

    def _find_neighbours(self, sampler: NeighbourSampler, number: int) -> None:
        """Cluster the training images by what is known of them before batch `number`."""
        started = time.monotonic()
        rows = np.arange(self._dev.rows[0])
        if self._plan.is_warm(number // self._plan.batches_per_step):
            features = self._images.embeddings(rows)
        elif self._has_pixels or sampler.clusters is not None:
            # Pixels say little; what fragments say does not change.
            return
        else:
            features = self._images.means(rows)
        sampler.find_neighbours(features, epoch=number // sampler.steps_per_pass)
        if sampler.clusters is not None and not self._collective.is_alone:
            # Rounding must not make another process see other groups.
            clusters = torch.from_numpy(sampler.clusters)
            self._collective.copy_from_main(clusters)
            sampler.clusters = clusters.numpy()
        self.position.neighbour_seconds += time.monotonic() - started

    def _batch(self, number: int) -> Batch:
        return self._batches.batch(self._collective.share(self._sampler.pairs(number)))

    def _take_step(self, step: int, batches: Iterator[Batch]) -> dict[str, float]:
        """Learn from the batches of a step; return the terms of their loss."""
        began = time.monotonic()
        terms = self._add_gradients(step, batches)
        factor = learning_rate_factor(
            step, step_count=self._plan.step_count, config=self._optimization
        )
        self._learning_rate = self._optimization.learning_rate * factor
        for group in self._optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._optimization.clip_norm)
        if not bool(norm.isfinite()):
            pairs = [self._sampler.pairs(number) for number in self._plan.batches_of(step)]
            raise self._failures.non_finite(step, pairs, terms | {"gradient": float(norm)})
        # The first step makes the optimiser's state, twice the size of the weights.
        with self._memory_errors_told(step, self._plan.batches_of(step)[-1]):
            self._optimizer.step()
        if self._average is not None:
            self._average.update()
        self.position.instance_level_steps += self._plan.has_instance_level(step)
        self.position.stepping_seconds += time.monotonic() - began
        return terms

    def _add_gradients(self, step: int, batches: Iterator[Batch]) -> dict[str, float]:
        """Leave the sum of the batches' gradients at the parameters; return the summed terms."""
        self._optimizer.zero_grad(set_to_none=True)
        summed: dict[str, float] = {}
        for number in self._plan.batches_of(step):
            with self._memory_errors_told(step, number) as sizes:
                batch = next(batches)
                sizes.append(batch.sizes)
                terms = self._losses(step, number, batch)
                shown = {name: float(term) for name, term in terms.named().items()}
                if not all(isfinite(value) for value in shown.values()):
                    pairs = self._sampler.pairs(number)
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
                self._images.regions(batch.pictures), batch.is_dropped.to(device)
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
                self._collective.share(self._sampler.pairs(number)),
                sizes="".join(sizes),
                device=str(self.hrem.device),
                saved_step=saved_step(self._output / "training"),
            ) from error

    def _warn_of_waiting(self, steps_before: int) -> None:
        """Warn, once, where batches come too slowly."""
        share = self.position.waiting_share
        if steps_before == _STEPS_BEFORE_WARNING and share > _MOST_WAITING:
            console.warn(
                f"{share:.0%} of the time of a step is spent waiting for data; more --workers may "
                "help, they never change a run"
            )

    def _look_or_save(self, monitor: Monitor) -> None:
        """Do what is due after a step."""
        seconds_unsaved = time.monotonic() - self._saved_at
        if self._plan.looks_at_dev(self.position.step):
            self._look_at_dev(monitor)
        elif self._plan.saves(self.position.step, seconds_unsaved=seconds_unsaved):
            self.save()

    def _look_at_dev(self, monitor: Monitor) -> None:
        """Evaluate on the dev images, and keep the network if it is the best so far."""
        with self._average.in_use() if self._average is not None else nullcontext():
            report = self._dev_report()
        position = self.position
        is_best = position.best_rsum is None or report.rsum > position.best_rsum
        monitor.dev_done(position.step, position.mean_terms(), report, is_best=is_best)
        position.add_look(report.as_dict())
        if is_best:
            position.best_rsum = report.rsum
            position.best_step = position.step
        self.save()
        if is_best:
            self._write_best()
        monitor.training_goes_on()

    def _write_best(self) -> None:
        """Write the present network, averaged where it is, as the checkpoint."""
        with self._average.in_use() if self._average is not None else nullcontext():
            self.hrem.save_pretrained(self._output)

    def _dev_report(self) -> RetrievalReport:
        images = self._images.embeddings(self._dev.rows)
        captions = encode_distinct(self.hrem.encode_captions, self._dev.captions)
        return evaluate_retrieval(images, captions, self._dev.caption_image)

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        """Turn the first Ctrl-C or termination signal into a request to stop after the step."""

        def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            self._stop_asked = True
            # A second one ends the process at once.
            signal.signal(number, signal.SIG_DFL)

        kept = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)
