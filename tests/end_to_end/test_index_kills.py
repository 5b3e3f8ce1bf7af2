"""Builds and additions, killed at any moment, end alike; `make kills-index` draws ten times."""

import itertools
import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from index_builder.index_folder.versions import IndexFolder
from model import console
from tests.end_to_end.killed_builds import STAGES, KilledBuild
from tests.end_to_end.killed_runs import import_everything
from tests.unit.index_builder.written_galleries import served_files
from tests.worlds import captions_of, made_up_picture, tiny_checkpoint

KILL_COUNT = int(os.environ.get("HREM_KILL_COUNT", "5"))
# Every third kill is aimed at a stage that is too short to be hit by chance.
AIMED_EVERY = 3


@dataclass(frozen=True)
class Scenario:
    """A command that is to be killed, after another that ran whole.

    Attributes:
        name: For people.
        before: Arguments of what is served before.
        arguments: Of the command that is killed.
    """

    name: str
    before: tuple[object, ...]
    arguments: tuple[object, ...]


@dataclass(frozen=True)
class Unbroken:
    """What a scenario leads to when nobody kills it.

    Attributes:
        served: The index that it begins with.
        files: What it ends with.
        seconds: How long it takes.
    """

    served: Path
    files: dict[str, Any]
    seconds: float


@pytest.mark.timeout(600 + 60 * KILL_COUNT)
def test_whatever_is_killed_at_any_moment_goes_on_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A graph is the same byte for byte only if one thread builds it.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    import_everything()
    scenarios = write_scenarios(tmp_path)
    unbroken: dict[str, Unbroken] = {}
    moments, stages = random.Random(0), itertools.cycle(STAGES)
    builds: list[KilledBuild] = []
    while (left := KILL_COUNT - sum(build.kill_count for build in builds)) > 0:
        scenario = scenarios[len(builds) % len(scenarios)]
        if scenario.name not in unbroken:
            unbroken[scenario.name] = run_unbroken(scenario, tmp_path)
        clean = unbroken[scenario.name]
        # Processes take longer to start than all the rest; a few builds with one are enough.
        workers = 1 if len(builds) % 5 == 4 else 0
        place = copied(clean.served, tmp_path / f"killed{len(builds)}")
        build = KilledBuild(place, (*scenario.arguments, "--workers", workers))
        builds.append(build)
        is_finished = False
        while not is_finished:
            if build.kill_count == left:
                is_finished = build.go_on()
            elif (left - build.kill_count) % AIMED_EVERY == 0:
                is_finished = build.go_on(kill_at=next(stages))
            else:
                is_finished = build.go_on(kill_after=moments.uniform(0, clean.seconds))
            # Whatever the moment, one whole version is served; opening checks all of it.
            IndexFolder(place).open().close()
        assert served_files(place) == clean.files, scenario.name
        assert not list(place.glob("galleries/.*")) + list(place.glob(".*"))
        shutil.rmtree(place)
    kill_count = sum(build.kill_count for build in builds)
    faiss_count = sum(build.faiss_count for build in builds)
    switch_count = sum(build.switch_count for build in builds)
    assert faiss_count + switch_count >= kill_count // 5
    with capsys.disabled():
        told = ", ".join(f"{name} {clean.seconds:.1f} s" for name, clean in unbroken.items())
        console.say(
            f"\n{kill_count} kills over {len(builds)} runs ({told}), {faiss_count} between the "
            f"FAISS write and its gallery, {switch_count} in or just after the version switch: "
            "every run ended with the bytes of an unbroken one"
        )


def run_unbroken(scenario: Scenario, folder: Path) -> Unbroken:
    """Run a scenario without a kill."""
    served = KilledBuild(folder / f"served {scenario.name}", scenario.before)
    assert served.go_on()
    arguments = (*scenario.arguments, "--workers", 0)
    clean = KilledBuild(copied(served.index, folder / f"clean {scenario.name}"), arguments)
    started = time.monotonic()
    assert clean.go_on()
    seconds = time.monotonic() - started
    assert IndexFolder(clean.index).current() == 2
    return Unbroken(served.index, served_files(clean.index), seconds)


def write_scenarios(folder: Path) -> list[Scenario]:
    """Return builds of pictures and captions of several kinds, and an addition of both."""
    photos = folder / "photos"
    (photos / "first").mkdir(parents=True)
    for number in range(60):
        picture = made_up_picture(number % 50, side=40 + number % 50)
        picture.save(photos / ("first" if number < 15 else ".") / f"{number:02d}.png")
    (photos / "13.png").write_text("no picture")
    captions = [text for number in range(120) for text in captions_of(number)]
    all_of_them, fewer = folder / "captions.txt", folder / "fewer.txt"
    all_of_them.write_text("\n".join(captions))
    fewer.write_text("\n".join(captions[:99]))
    checkpoint = ("--checkpoint", tiny_checkpoint(folder, embedding_dim=256), "--output", "INDEX")
    sizes = ("--part-size", 24, "--batch-size", 8)
    sources = ("--images", photos, "--captions", all_of_them)
    some = ("--images", photos / "first", "--images-root", photos, "--captions", fewer)

    def build(kind: str) -> Scenario:
        arguments = ("build", *checkpoint, *sources, *sizes, "--kind", kind)
        return Scenario(f"build {kind}", ("build", *checkpoint, "--captions", fewer), arguments)

    addition = Scenario("add", ("build", *checkpoint, *some), ("add", "INDEX", *sources, *sizes))
    return [build("exact"), build("ivf"), addition, build("hnsw")]


def copied(index: Path, place: Path) -> Path:
    """Return a copy of an index."""
    return Path(shutil.copytree(index, place))
