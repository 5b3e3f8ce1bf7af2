"""The training loop; read `Trainer.run` first.

- What a step sees and draws is a function of (seed, step); a run that stops between two steps and
  goes on later ends with the same bits. A step itself: `learner`; its batches: `batch_supply`.
- Ctrl-C (or a termination signal) lets the step end, saves, and says how to resume.
- Of several processes the main one alone looks at the dev images and saves.
- The checkpoint folder holds the best network on the dev images; `training/` beside it holds the
  last one and whatever else going on needs.
- The state is written before the checkpoint that it makes the best, and going on from such a state
  writes that checkpoint again: whatever moment a process is killed at, the two agree.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model import console
from model.errors import CheckpointError
from model.metrics import RetrievalReport, evaluate_retrieval
from model.peak_memory import peak_memory_bytes
from model.training.batch_supply import BatchSupply
from model.training.distributed import Collective
from model.training.evaluation import encode_distinct
from model.training.learner import Learner
from model.training.monitor import Monitor
from model.training.neighbours import NeighbourSampler
from model.training.schedule import StepPlan
from model.training.state import (
    Position,
    module_tensors,
    optimizer_tensors,
    read_state,
    remove_leftovers,
    restore_optimizer,
    under,
    write_state,
)
from model.training.stored_images import StoredEncoder

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
    """A training run: takes steps, looks at the dev images, keeps the best network, saves itself.

    Args:
        learner: The network, its objective and its optimiser.
        supply: The batches that it learns from.
        images: The image side of the network, over the stored images.
        dev: Images that select the checkpoint.
        plan: What happens at which step.
        output: The checkpoint folder.
        collective: The processes that share each batch.

    Attributes:
        position: Where the run stands.
    """

    def __init__(
        self,
        learner: Learner,
        supply: BatchSupply,
        *,
        images: StoredEncoder,
        dev: DevImages,
        plan: StepPlan,
        output: Path,
        collective: Collective,
    ) -> None:
        self.position = Position()
        self._learner = learner
        self._supply = supply
        self._images = images
        self._dev = dev
        self._plan = plan
        self._output = output
        self._collective = collective
        self._saved_step: int | None = None
        self._saved_at = time.monotonic()
        self._stop_asked = False

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
            batch_size=self._supply.sampler.batch_size * each,
        )
        made_ahead = closing(self._supply.batches_from(first_step * each, self.position))
        self._learner.begin()
        with monitor, self._stop_on_signal(), made_ahead as batches:
            started = time.monotonic() - self.position.seconds
            for step in range(first_step, step_count):
                began = time.monotonic()
                self.position.add_terms(self._learner.take_step(step, batches))
                self.position.stepping_seconds += time.monotonic() - began
                self.position.instance_level_steps += self._plan.has_instance_level(step)
                self.position.step = step + 1
                means = self.position.mean_terms()
                monitor.step_done(step + 1, means, learning_rate=self._learner.learning_rate)
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
        self.position.peak_memory_bytes = max(self.position.peak_memory_bytes, peak_memory_bytes())
        learner, sampler = self._learner, self._supply.sampler
        tensors = module_tensors("hrem", learner.hrem)
        tensors |= module_tensors("objective", learner.objective)
        for name, tensor in optimizer_tensors(learner.optimizer).items():
            tensors[f"optimizer.{name}"] = tensor
        if learner.average is not None:
            for place, tensor in enumerate(learner.average.averaged):
                tensors[f"average.{place}"] = tensor
        if isinstance(sampler, NeighbourSampler) and sampler.clusters is not None:
            tensors["sampler.clusters"] = torch.from_numpy(sampler.clusters)
        write_state(self._output / "training", self.position, tensors)
        self._saved_step = self.position.step
        self._saved_at = time.monotonic()

    def restore(self) -> None:
        """Put back what `save` wrote.

        Raises:
            CheckpointError: There is no state, or it belongs to another network.
        """
        learner, sampler = self._learner, self._supply.sampler
        self.position, tensors = read_state(self._output / "training")
        self._saved_step = self.position.step
        weights = under("hrem", tensors)
        try:
            self._refuse_another_backbone(weights)
            learner.hrem.load_state_dict(weights)
            learner.objective.load_state_dict(under("objective", tensors))
        except RuntimeError as error:
            raise CheckpointError(
                f"the run in '{self._output}' was of another network than its settings and data "
                "make now; put back the captions that it began with, or start a new run"
            ) from error
        restore_optimizer(learner.optimizer, under("optimizer", tensors))
        if isinstance(sampler, NeighbourSampler) and "sampler.clusters" in tensors:
            sampler.clusters = tensors["sampler.clusters"].numpy()
        if learner.average is not None:
            averaged = under("average", tensors)
            learner.average.restore(
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
        backbone = self._learner.hrem.backbone
        if backbone is None or not backbone.config.is_frozen:
            return
        stored = under("backbone", weights)
        for name, tensor in backbone.state_dict().items():
            if name not in stored or not torch.equal(tensor.cpu(), stored[name]):
                raise CheckpointError(
                    f"the run in '{self._output}' began with another backbone; give that one, or "
                    "start a new run"
                )

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
        with self._average_in_use():
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
        with self._average_in_use():
            self._learner.hrem.save_pretrained(self._output)

    def _average_in_use(self) -> AbstractContextManager[None]:
        """Put the averaged weights into the network for a while, where an average is kept."""
        average = self._learner.average
        return average.in_use() if average is not None else nullcontext()

    def _dev_report(self) -> RetrievalReport:
        images = self._images.embeddings(self._dev.rows)
        captions = encode_distinct(self._learner.hrem.encode_captions, self._dev.captions)
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
