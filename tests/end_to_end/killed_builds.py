"""A build of an index, or an addition, in a process of its own that is killed and goes on.

Processes are forked from one that has imported everything already, so that a kill falls into the
work and not into the start of Python.
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from index_builder.commands.add import Add
from index_builder.commands.build import Build
from model.command_line import run_commands
from tests.end_to_end.killed_runs import PROCESSES

__all__ = ["STAGES", "KilledBuild"]

_LONGEST_S = 600.0
_LOOK_EVERY_S = 0.0005

# Files that appear while the vector index is written, and while the version is switched: a build
# puts a gallery together in its work folder, an addition in `.changing-<kind>`.
STAGES = {
    "images/index.faiss": "galleries/.[wc]*-images*/*/index.faiss",
    "captions/index.faiss": "galleries/.[wc]*-captions*/*/index.faiss",
    "version": "versions/?[!n]*",  # no record that was set aside: `.never-served-<n>.json`
    "current": ".current.tmp",
}


class KilledBuild:
    """A build or an addition that is killed again and again.

    Attributes:
        index: What it writes.
        kill_count: How often it was killed.
        faiss_count: How often it left behind an `index.faiss` that was not yet in its gallery.
        switch_count: How often it left behind a version that it had begun to write; some of these
            kills fell after the switch, before the work folders were removed.
    """

    def __init__(self, index: Path, arguments: Sequence[object]) -> None:
        """Prepare a command with `arguments`; `INDEX` among them stands for the index."""
        self.index = index
        self._arguments = [str(index if part == "INDEX" else part) for part in arguments]
        self._log = index.with_suffix(".log")
        self.kill_count = 0
        self.faiss_count = 0
        self.switch_count = 0

    def go_on(self, *, kill_after: float | None = None, kill_at: str | None = None) -> bool:
        """Begin or go on, perhaps killed; return whether it is finished.

        Args:
            kill_after: Kill after so many seconds.
            kill_at: Kill when the file of this stage appears.
        """
        before = {stage: self._files_of(stage) for stage in STAGES}
        process = PROCESSES.Process(target=_build, args=(self._arguments, self._log))
        process.start()
        if kill_at is None:
            process.join(_LONGEST_S if kill_after is None else kill_after)
        else:
            deadline = time.monotonic() + _LONGEST_S
            while process.is_alive() and time.monotonic() < deadline:
                if self._files_of(kill_at) - before[kill_at]:
                    break
                time.sleep(_LOOK_EVERY_S)
        process.kill()
        process.join()
        if process.exitcode == 0:
            return True
        assert process.exitcode == -9, self._log.read_text()
        assert kill_after is not None or kill_at is not None, self._log.read_text()
        self.kill_count += 1
        left = {stage for stage in STAGES if self._files_of(stage) - before[stage]}
        self.faiss_count += not left.isdisjoint({"images/index.faiss", "captions/index.faiss"})
        self.switch_count += not left.isdisjoint({"version", "current"})
        return False

    def _files_of(self, stage: str) -> set[tuple[Path, int]]:
        """Return the files of a stage that are there, each with what tells it from another."""
        found = set()
        for path in self.index.glob(STAGES[stage]):
            with contextlib.suppress(FileNotFoundError):  # renamed in this moment
                found.add((path, path.stat().st_ino))
        return found


def _build(arguments: list[str], log: Path) -> None:
    with log.open("w") as said, contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = run_commands("index_builder", {"build": Build, "add": Add}, arguments)
    raise SystemExit(status)
