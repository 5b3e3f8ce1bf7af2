"""Commands of this project in processes of their own, which end when this one is asked to."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from model.errors import TrainingError

__all__ = ["ChildCommands", "termination_interrupts"]


class ChildCommands:
    """Runs commands, from any thread, until they are stopped."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._is_stopped = False
        self._lock = threading.Lock()

    def call(
        self, arguments: Sequence[str], *, log: TextIO | None = None, threads: int | None = None
    ) -> str:
        """Run `python ARGUMENTS`, its progress on our stderr or in a log; return its stdout.

        Raises:
            TrainingError: It failed.
            KeyboardInterrupt: It was stopped.
        """
        environment = dict(os.environ)
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        with self._lock:
            if self._is_stopped:
                raise KeyboardInterrupt
            process = subprocess.Popen(
                [sys.executable, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment,
            )
            self._running.add(process)
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()
            process.wait()
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode == 130 or (process.returncode and self._is_stopped):
            raise KeyboardInterrupt
        if process.returncode:
            where = "above" if log is None else f"in {log.name}"
            raise TrainingError(
                f"python {' '.join(arguments)} ended with {process.returncode}; its message is "
                f"{where}"
            )
        return said

    def stop(self) -> None:
        """Ask every command that runs to end, and let none begin; `call` returns when it has.

        A training run saves itself first. It may have heard of Ctrl-C already: asked in both ways,
        it still takes the time to save.
        """
        with self._lock:
            self._is_stopped = True
            for process in self._running:
                process.terminate()


@contextmanager
def termination_interrupts() -> Iterator[None]:
    """Turn the first SIGTERM into what Ctrl-C is; a second one ends the process at once."""

    def interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise KeyboardInterrupt

    kept = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, kept)
