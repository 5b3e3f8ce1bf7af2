"""A run killed at any moment goes on to the same bits; `make kills` draws ten times as many."""

import os
import random
import time
from pathlib import Path

import pytest

from model import console
from tests.end_to_end.killed_runs import KilledRun, import_everything, outcome_of
from tests.end_to_end.test_training import World

KILL_COUNT = int(os.environ.get("HREM_KILL_COUNT", "5"))
AVERAGED = ("--optimization.weight-average-decay", "0.9")


def test_a_run_killed_at_any_moment_goes_on_to_the_same_bits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    saving = ("--schedule.steps", 24, "--schedule.evaluate-every", 3)
    unbroken, seconds = {}, {}
    import_everything()
    for more in ((), AVERAGED):
        run = KilledRun(tmp_path / f"whole{len(more)}", arguments(world, *saving, *more))
        started = time.monotonic()
        assert run.go_on()
        seconds[more] = time.monotonic() - started
        unbroken[more] = outcome_of(run.output)
    moments = random.Random(0)
    runs: list[KilledRun] = []
    while (left := KILL_COUNT - sum(run.kill_count for run in runs)) > 0:
        more = AVERAGED if len(runs) % 2 else ()
        every = ("--schedule.save-every-steps", 1 + len(runs) % 2)
        output = tmp_path / f"killed{len(runs)}"
        run = KilledRun(output, arguments(world, *saving, *every, *more))
        runs.append(run)
        is_finished = False
        while not is_finished:
            is_last = run.kill_count == left
            kill_after = None if is_last else moments.uniform(0, seconds[more])
            is_finished = run.go_on(kill_after=kill_after)
        assert outcome_of(run.output) == unbroken[more]
    kill_count = sum(run.kill_count for run in runs)
    torn_count = sum(run.torn_count for run in runs)
    with capsys.disabled():
        console.say(
            f"\n{kill_count} kills over {len(runs)} runs of {seconds[()]:.1f} s, {torn_count} into "
            "a file being written: every run ended with the bits of an unbroken one"
        )


def arguments(world: World, *more: object) -> list[str]:
    """Return the arguments of a tiny run, without its output folder."""
    given = ("--config", world.settings, "--data", world.data)
    return [str(part) for part in (*given, "--cache-directory", world.folder / "cache", *more)]
