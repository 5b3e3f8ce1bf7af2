"""The real service in a process of its own, on one core, watched from outside."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from model.errors import ServiceError

__all__ = ["MemoryWatch", "RunningService", "running_service"]

_START_DEADLINE_S = 300
_STOP_DEADLINE_S = 30
_WATCH_EVERY_S = 0.25


@dataclass(frozen=True)
class RunningService:
    """A service that answers.

    Attributes:
        url: Where.
        process_id: Of its process.
        facts: What it says of itself when it starts.
        log: Its stderr.
        start_s: From the start of the process to its first words.
    """

    url: str
    process_id: int
    facts: dict[str, str]
    log: Path
    start_s: float

    def resident_bytes(self) -> int:
        """Return the memory that the process holds, files mapped into it included."""
        for line in Path(f"/proc/{self.process_id}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        return 0  # pragma: no cover - a process has memory


@contextmanager
def running_service(
    index: Path, *settings: str, log: Path, core: int | None = None
) -> Iterator[RunningService]:
    """Start `python -m service` with one thread on one core; stop it at the end of the block.

    Args:
        index: Folder.
        settings: More flags.
        log: Where its stderr goes.
        core: The processor core; None leaves all of them.

    Raises:
        ServiceError: It does not start.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HREM_")}
    command = [sys.executable, "-m", "service", "--index", str(index), "--port", "0", "--json"]
    started = time.perf_counter()
    with log.open("w") as lines:
        process = subprocess.Popen(
            [*command, *settings],
            stdout=subprocess.PIPE,
            stderr=lines,
            text=True,
            env={**kept, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        facts = _facts(process, log)
        start_s = time.perf_counter() - started
        yield RunningService(facts["url"], process.pid, facts, log, start_s)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _facts(process: "subprocess.Popen[str]", log: Path) -> dict[str, str]:
    assert process.stdout is not None
    give_up = threading.Timer(_START_DEADLINE_S, process.kill)
    give_up.start()
    text = ""
    try:
        for line in process.stdout:
            text += line
            if line.rstrip() == "}":
                facts: dict[str, str] = json.loads(text)
                return facts
    finally:
        give_up.cancel()
    last = "".join(log.read_text().splitlines(keepends=True)[-5:])
    raise ServiceError(f"the service did not start; its last words: {last}")


@dataclass
class MemoryWatch:
    """Looks at the memory of a service while a block runs.

    Attributes:
        before_bytes: When the block began.
        peak_bytes: The most that was seen in it.
        after_bytes: At its end.
    """

    service: RunningService
    before_bytes: int = 0
    peak_bytes: int = 0
    after_bytes: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "MemoryWatch":
        """Begin."""
        self.before_bytes = self.peak_bytes = self.service.resident_bytes()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._stop.set()
        self._thread.join()
        self.after_bytes = self.service.resident_bytes()
        self.peak_bytes = max(self.peak_bytes, self.after_bytes)

    def _watch(self) -> None:
        while not self._stop.wait(_WATCH_EVERY_S):
            self.peak_bytes = max(self.peak_bytes, self.service.resident_bytes())

    @property
    def growth_bytes(self) -> int:
        """By how much the most was above the beginning."""
        return self.peak_bytes - self.before_bytes
