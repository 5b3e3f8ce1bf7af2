"""How long a service takes to answer from a large index once its model is loaded, and where.

    python -m benchmarks.service_start
    python -m benchmarks.service_start --count 100000 --folder data/load

The index has inverted lists and is mapped into memory; the network is small, so that what is left
is the index. Opened in a fresh process each time, once with its files in the system's memory and
once after they were dropped from it; then the real service is started on it.
"""

import cProfile
import io
import os
import pstats
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.made_up_index import NetworkSize, write_checkpoint, write_made_up_index
from benchmarks.running_service import running_service
from benchmarks.stopwatch import MIB, in_fresh_process, machine, machine_line
from model import console
from model.command_line import Command, run_command
from model.peak_memory import peak_memory_bytes

MOST_SECONDS = 5.0


class ServiceStartBenchmark(Command):
    """Time opening a large index and its first answer."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.service_start",
        "python -m benchmarks.service_start --count 100000 --folder data/load",
    )

    count: int = Field(1_000_000, ge=1_000, description="items")
    dim: int = Field(1024, ge=64, multiple_of=16, description="size of a vector")
    profile: bool = Field(False, description="say which functions the time goes to")
    folder: Path | None = Field(
        None, description="where the index is written, or found; default: a temporary folder"
    )

    def run(self) -> int:
        """Print the seconds; 1 if they are too many."""
        found = machine()
        with ExitStack() as stack:
            folder = self.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            folder.mkdir(parents=True, exist_ok=True)
            index = large_index(folder, count=self.count, dim=self.dim)
            warm, cold = (measure_open(index, drop=drop) for drop in (False, True))
            figures = {"items": self.count, "dim": self.dim, "warm": warm, "cold": cold}
            with running_service(index, "--device", "cpu", log=folder / "start.log") as service:
                figures["service_start_s"] = service.start_s
            if self.profile:
                console.result(in_fresh_process(profile_open, index))
        if self.json_output:
            console.result_json({"machine": found, **figures})
        else:
            console.result(f"{machine_line(found)}\n")
            console.result(markdown(figures))
        return 0 if max(warm["open_and_answer_s"], cold["open_and_answer_s"]) < MOST_SECONDS else 1


def large_index(folder: Path, *, count: int, dim: int) -> Path:
    """Return an index of inverted lists in `folder`; write it if needed."""
    index = folder / f"ivf-{dim}-{count}"
    if not (index / "current").is_file():
        console.say(f"writing  {count:,} items of {dim}-d")
        size = NetworkSize(word_count=1000, hidden=32, layers=1, heads=2, dim=dim, region_dim=16)
        checkpoint = write_checkpoint(folder / f"network-{dim}", "bigru", size)
        write_made_up_index(index, checkpoint, count=count, kind="ivf")
    return index


def measure_open(index: Path, *, drop: bool) -> dict[str, float]:
    """Return the seconds of opening and of the first answer, and the memory that they take.

    Args:
        index: Folder.
        drop: Drop its files from the system's memory first.
    """
    if drop:
        forget_files(index)
    else:
        for path in index.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    while file.read(16 * MIB):
                        pass
    figures: dict[str, float] = in_fresh_process(open_and_answer, index)
    return figures


def open_and_answer(index: Path) -> dict[str, float]:
    """Load the network, then time the index; call it in a fresh process."""
    from index_builder.versions import IndexFolder
    from model.dual_encoder import load_dual_encoder

    folder = IndexFolder(index)
    started = time.perf_counter()
    encoder = load_dual_encoder(folder.path / folder.record().checkpoint.folder)
    loaded = time.perf_counter()
    before = peak_memory_bytes()
    opened = folder.open()
    opened.check_encoder(encoder.fingerprint, index)
    ready = time.perf_counter()
    assert opened.images is not None
    query = encoder.encode_captions(["a first question"]).numpy()
    hits = opened.images.search(np.asarray(query, dtype=np.float32), 10)
    opened.images.items([hit.item_id for hit in hits[0]])
    answered = time.perf_counter()
    return {
        "load_model_s": loaded - started,
        "open_index_s": ready - loaded,
        "first_answer_s": answered - ready,
        "open_and_answer_s": answered - loaded,
        "peak_mib": (peak_memory_bytes() - before) / MIB,
    }


def profile_open(index: Path) -> str:
    """Return the functions that opening spends its time in."""
    from index_builder.versions import IndexFolder

    profiler = cProfile.Profile()
    profiler.runcall(IndexFolder(index).open)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(25)
    return text.getvalue()


def forget_files(folder: Path) -> None:
    """Drop the files of a folder from the system's memory, as after a restart of the machine."""
    for path in folder.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    names = list(figures["warm"])
    head = ["files", *(name.replace("_", " ") for name in names)]
    lines = [head, ["---"] * len(head)]
    for kind in ("warm", "cold"):
        lines.append([kind, *(f"{figures[kind][name]:,.2f}" for name in names)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return (
        f"{figures['items']:,} items of {figures['dim']}-d; the whole service, from the start of "
        f"its process: {figures['service_start_s']:.1f} s\n\n{table}"
    )


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.service_start", ServiceStartBenchmark))
