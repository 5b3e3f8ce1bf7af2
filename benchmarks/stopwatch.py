"""Seconds and memory that can be compared: in turns within one run, and a process for each peak.

- What is compared is timed in rounds, each side once a round: what slows the machine for a while
  slows all of them. A ratio is the median of the rounds' ratios.
- Memory is measured in a fresh process, so that nothing that was freed before is counted.
"""

import math
import os
import pickle
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.peak_memory import peak_memory_bytes

__all__ = [
    "MIB",
    "Rounds",
    "extra_peak_bytes",
    "in_fresh_process",
    "machine",
    "machine_line",
    "timed_rounds",
]

MIB = 2**20
_PROCESSORS = Path("/proc/cpuinfo")
_ANSWER = """
import importlib, pathlib, pickle, sys
module, name, arguments = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())
answer = getattr(importlib.import_module(module), name)(*arguments)
pathlib.Path(sys.argv[2]).write_bytes(pickle.dumps(answer))
"""


@dataclass(frozen=True)
class Rounds:
    """Seconds of every side in every round."""

    seconds: dict[str, list[float]]

    def median(self, side: str) -> float:
        """Return the median seconds of a side."""
        return statistics.median(self.seconds[side])

    def ratio(self, side: str, to: str) -> float:
        """Return the median over rounds of one side's seconds over another's."""
        pairs = zip(self.seconds[side], self.seconds[to], strict=True)
        return statistics.median(above / below for above, below in pairs)


def timed_rounds(
    sides: Mapping[str, Callable[[], object]], *, rounds: int, is_warm: bool = False
) -> Rounds:
    """Run all sides in turns and return their seconds; before that once untimed, unless warm."""
    for run in sides.values() if not is_warm else ():
        run()
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, run in sides.items():
            started = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - started)
    return Rounds(seconds)


def extra_peak_bytes(run: Callable[[], object]) -> int:
    """Return by how much a run raises this process's peak memory; call it in a fresh process."""
    before = peak_memory_bytes()
    run()
    return peak_memory_bytes() - before


def in_fresh_process(measure: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a module's function returns in an interpreter of its own.

    Its main module is empty, so processes that it spawns import only what they need.
    """
    module = measure.__module__
    if module == "__main__":
        module = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory() as name:
        question, answer = Path(name) / "question", Path(name) / "answer"
        question.write_bytes(pickle.dumps((module, measure.__name__, arguments)))
        subprocess.run([sys.executable, "-c", _ANSWER, question, answer], check=True)
        return pickle.loads(answer.read_bytes())


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, threads, load, torch version."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else math.nan,
        "torch": torch.__version__,
    }


def machine_line(found: Mapping[str, Any]) -> str:
    """Return the machine in one line for people."""
    return (
        f"{found['processor']} · {found['cores']} cores · {found['threads']} threads · "
        f"load {found['load_before']} before · torch {found['torch']}"
    )


def _processor() -> str:
    if _PROCESSORS.is_file():
        for line in _PROCESSORS.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
