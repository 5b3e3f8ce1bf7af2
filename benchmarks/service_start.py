"""How long a service takes to answer from a large index once its model is loaded, and where.

    python -m benchmarks.service_start
    python -m benchmarks.service_start --count 100000 --folder data/load

The index has inverted lists and is mapped into memory. The real service is started on it, once with
the files in the system's memory and once after they were dropped from it, and says itself how long
it took to open the index, to load the network (a small one) and to answer first queries.
"""

import cProfile
import io
import os
import pstats
import re
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from benchmarks.made_up_index import NetworkSize, write_checkpoint, write_made_up_index
from benchmarks.running_service import running_service
from benchmarks.stopwatch import MIB, in_fresh_process, machine, machine_line
from model import console
from model.command_line import Command, run_command

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
            starts = {
                files: measure_start(index, folder / "start.log", drop=files == "cold")
                for files in ("warm", "cold")
            }
            if self.profile:
                console.result(in_fresh_process(profile_open, index))
        figures = {"items": self.count, "dim": self.dim, "starts": starts}
        if self.json_output:
            console.result_json({"machine": found, **figures})
        show = console.say if self.json_output else console.result
        show(f"{machine_line(found)}\n\n{markdown(figures)}")
        slowest = max(start["without_network_s"] for start in starts.values())
        return 0 if slowest < MOST_SECONDS else 1


def large_index(folder: Path, *, count: int, dim: int) -> Path:
    """Return an index of inverted lists in `folder`; write it if needed."""
    index = folder / f"ivf-{dim}-{count}"
    if not (index / "current").is_file():
        console.say(f"writing  {count:,} items of {dim}-d")
        size = NetworkSize(word_count=1000, hidden=32, layers=1, heads=2, dim=dim, region_dim=16)
        checkpoint = write_checkpoint(folder / f"network-{dim}", "bigru", size)
        write_made_up_index(index, checkpoint, count=count, kind="ivf")
    return index


def measure_start(index: Path, log: Path, *, drop: bool) -> dict[str, float]:
    """Return the seconds of a start of the service by stage, and the memory that it then holds.

    Args:
        index: Folder.
        log: Where the service's stderr goes.
        drop: Drop the files of the index from the system's memory first; else read them into it.
    """
    for path in index.rglob("*"):
        if path.is_file():
            (_forget if drop else _read)(path)
    with running_service(index, "--device", "cpu", log=log) as service:
        stages = [float(found) for found in re.findall(r"([\d.]+) s", service.facts["opened in"])]
        index_s, network_s, canary_s = stages
        return {
            "index_s": index_s,
            "first_queries_s": canary_s,
            "without_network_s": index_s + canary_s,
            "network_s": network_s,
            "process_s": service.start_s,
            "resident_mib": service.resident_bytes() / MIB,
        }


def profile_open(index: Path) -> str:
    """Return the functions that opening spends its time in."""
    from index_builder.index_folder.versions import IndexFolder

    profiler = cProfile.Profile()
    profiler.runcall(IndexFolder(index).open)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).sort_stats("cumulative").print_stats(25)
    return text.getvalue()


def _read(path: Path) -> None:
    with path.open("rb") as file:
        while file.read(16 * MIB):
            continue


def _forget(path: Path) -> None:
    """Drop a file from the system's memory, as after a restart of the machine."""
    if hasattr(os, "posix_fadvise"):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def markdown(figures: dict[str, Any]) -> str:
    """Return the figures as a table."""
    starts = figures["starts"]
    names = list(starts["warm"])
    lines = [["files", *(name.replace("_", " ") for name in names)], ["---"] * (1 + len(names))]
    lines += [
        [files, *(f"{start[name]:,.2f}" for name in names)] for files, start in starts.items()
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{figures['items']:,} items of {figures['dim']}-d\n\n{table}"


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.service_start", ServiceStartBenchmark))
