"""What a person sees of a run: a line a look at the dev images, a bar, TensorBoard if installed."""

import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from model import console
from model.metrics import RetrievalReport

__all__ = ["Monitor"]

_LOGGED_STEPS = 20


class Monitor(AbstractContextManager["Monitor"]):
    """Follow a run over `step_count` steps of `batch_size` pairs, from `first_step` on."""

    def __init__(
        self, folder: Path | None, *, first_step: int, step_count: int, batch_size: int
    ) -> None:
        """Prepare a bar and, given a folder and TensorBoard, a log below it."""
        self._step_count = step_count
        self._batch_size = batch_size
        pair_count = (step_count - first_step) * batch_size
        self._progress = console.progress("training", pair_count, "pairs")
        self._writer: Any = None
        if folder is not None:
            with suppress(ImportError):
                from torch.utils.tensorboard import SummaryWriter

                self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_step)
        self._timed_steps = 0
        self._clock_started = time.monotonic()

    def __enter__(self) -> "Monitor":
        """Show the bar."""
        self._bar = self._progress.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close bar and log."""
        self._progress.__exit__(kind, error, traceback)
        if self._writer is not None:
            self._writer.close()

    def step_done(self, step: int, means: Mapping[str, float], *, learning_rate: float) -> None:
        """Count one step; show the mean terms since the last look, and log them now and then."""
        self._timed_steps += 1
        self._bar.note(f"step {step:,}/{self._step_count:,}  {_as_text(means)}")
        self._bar.advance(self._batch_size)
        if self._writer is not None and step % _LOGGED_STEPS == 0:
            for name, value in means.items():
                self._writer.add_scalar(f"loss/{name}", value, step)
            self._writer.add_scalar("learning_rate", learning_rate, step)

    def dev_done(
        self, step: int, means: Mapping[str, float], report: RetrievalReport, *, is_best: bool
    ) -> None:
        """Tell of a look at the dev images, and of the mean terms since the last one."""
        seconds = time.monotonic() - self._clock_started
        rate = self._timed_steps * self._batch_size / seconds
        first = f"{report.image_to_text.recall_at_1:.1f} / {report.text_to_image.recall_at_1:.1f}"
        console.say(
            f"step {step:,}/{self._step_count:,}  {_as_text(means)}  {rate:.0f} pairs/s  "
            f"dev rSum {report.rsum:.1f} (R@1 {first}){'  best' if is_best else ''}"
        )
        if self._writer is not None:
            self._writer.add_scalar("dev/rsum", report.rsum, step)
            for direction in ("image_to_text", "text_to_image"):
                recall = getattr(report, direction).recall_at_1
                self._writer.add_scalar(f"dev/{direction}/recall_at_1", recall, step)
            self._writer.flush()

    def training_goes_on(self) -> None:
        """Start the clock of the pairs a second anew, after a look at the dev images."""
        self._timed_steps = 0
        self._clock_started = time.monotonic()


def _as_text(terms: Mapping[str, float]) -> str:
    total = f"loss {terms.get('total', 0):.2f}"
    parts = [f"{name} {value:.2f}" for name, value in terms.items() if name != "total"]
    return f"{total} ({', '.join(parts)})" if len(parts) > 1 else total
