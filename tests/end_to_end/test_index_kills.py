"""A build killed at any moment goes on to the same bytes; `make kills-index` draws ten times."""

import itertools
import os
import random
import shutil
import time
from pathlib import Path

import pytest

from index_builder.versions import IndexFolder
from model import console
from tests.end_to_end.killed_builds import STAGES, KilledBuild
from tests.end_to_end.killed_runs import import_everything
from tests.unit.index_builder.galleries import served_files
from tests.worlds import captions_of, made_up_picture, tiny_checkpoint

KILL_COUNT = int(os.environ.get("HREM_KILL_COUNT", "5"))
# Every third kill is aimed at a stage that is too short to be hit by chance.
AIMED_EVERY = 3


@pytest.mark.timeout(600 + 60 * KILL_COUNT)
def test_a_build_killed_at_any_moment_goes_on_to_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import_everything()
    arguments, old_arguments = write_sources(tmp_path)
    served = KilledBuild(tmp_path / "served", old_arguments)
    assert served.go_on()
    clean = KilledBuild(copied(served.index, tmp_path / "clean"), (*arguments, "--workers", 0))
    started = time.monotonic()
    assert clean.go_on()
    seconds = time.monotonic() - started
    unbroken = served_files(clean.index)
    assert IndexFolder(clean.index).current() == 2

    moments, stages = random.Random(0), itertools.cycle(STAGES)
    builds: list[KilledBuild] = []
    while (left := KILL_COUNT - sum(build.kill_count for build in builds)) > 0:
        # Processes take longer to start than all the rest; a few builds with one are enough.
        workers = 1 if len(builds) % 5 == 4 else 0
        place = copied(served.index, tmp_path / f"killed{len(builds)}")
        build = KilledBuild(place, (*arguments, "--workers", workers))
        builds.append(build)
        is_finished = False
        while not is_finished:
            if build.kill_count == left:
                is_finished = build.go_on()
            elif (left - build.kill_count) % AIMED_EVERY == 0:
                is_finished = build.go_on(kill_at=next(stages))
            else:
                is_finished = build.go_on(kill_after=moments.uniform(0, seconds))
            # Whatever the moment, one whole version is served; opening checks all of it.
            IndexFolder(place).open().close()
        assert served_files(place) == unbroken
        assert not list(place.glob("galleries/.*")) + list(place.glob(".*"))
        shutil.rmtree(place)
    kill_count = sum(build.kill_count for build in builds)
    faiss_count = sum(build.faiss_count for build in builds)
    switch_count = sum(build.switch_count for build in builds)
    assert faiss_count + switch_count >= kill_count // 5
    with capsys.disabled():
        console.say(
            f"\n{kill_count} kills over {len(builds)} builds of {seconds:.1f} s, {faiss_count} "
            f"between the FAISS write and its gallery, {switch_count} in or just after the version "
            "switch: every build ended with the bytes of an unbroken one"
        )


def write_sources(folder: Path) -> tuple[tuple[object, ...], tuple[object, ...]]:
    """Return the arguments of a build of pictures and captions, and of one of fewer captions."""
    (folder / "photos").mkdir()
    for number in range(60):
        picture = made_up_picture(number % 50, side=40 + number % 50)
        picture.save(folder / "photos" / f"{number:02d}.png")
    (folder / "photos" / "13.png").write_text("no picture")
    captions = [text for number in range(120) for text in captions_of(number)]
    (folder / "captions.txt").write_text("\n".join(captions))
    (folder / "fewer.txt").write_text("\n".join(captions[:99]))
    checkpoint = ("--checkpoint", tiny_checkpoint(folder, embedding_dim=256))
    sizes = ("--part-size", 24, "--batch-size", 8)
    sources = ("--images", folder / "photos", "--captions", folder / "captions.txt")
    return (*checkpoint, *sources, *sizes), (*checkpoint, "--captions", folder / "fewer.txt")


def copied(index: Path, place: Path) -> Path:
    """Return a copy of an index that serves captions alone."""
    return Path(shutil.copytree(index, place))
