"""Pruning: what no kept version names goes, whatever moment a prune before was killed."""

import itertools
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from index_builder.index_folder.versions import IndexFolder
from index_builder.pruning import prune
from index_builder.rollback import roll_back
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import publish_captions, unit_rows

NAMES = [f"captions-{digit * 16}" for digit in "0123"]


@pytest.fixture
def index(tmp_path):
    """Four versions, half-built things, and a checkpoint that nobody names."""
    folder = IndexFolder(tmp_path / "index")
    for version, name in enumerate(NAMES, 1):
        publish_captions(folder, unit_rows(20, seed=version), name)
    for name in ("galleries/.work-images-0123456789abcdef", "checkpoints/" + "ef" * 8):
        (folder.path / name).mkdir()
        (folder.path / name / "part").write_bytes(b"x" * 1000)
    (folder.path / "versions" / ".9.json.tmp").write_bytes(b"x" * 10)
    return folder


def sizes_by_identity(folder):
    """Every file below a folder: what tells it from others, and its size."""
    found = (path.lstat() for path in folder.rglob("*") if not path.is_dir())
    return {(status.st_dev, status.st_ino): status.st_size for status in found}


def tree(folder):
    found = ((path, path.lstat()) for path in sorted(folder.rglob("*")))
    return [(path, status.st_mtime_ns, status.st_size) for path, status in found]


def test_the_served_version_and_the_newest_stay(index):
    report = prune(index.path, unfinished=True)
    assert (report.kept_versions, report.removed_versions) == ([3, 4], [1, 2])
    assert index.versions() == [3, 4]
    assert sorted(path.name for path in index.galleries.iterdir()) == NAMES[2:]
    assert list(index.checkpoints.iterdir()) == []
    assert not list(index.path.rglob(".*"))
    for version in (3, 4):
        index.open(version).close()
    again = prune(index.path)
    assert (again.removed_versions, again.removed, again.freed_bytes) == ([], [], 0)
    assert prune(index.path, keep=1).kept_versions == [4]
    assert prune(index.path, keep=9).kept_versions == [4]


def test_a_gallery_that_a_kept_version_shares_stays(index):
    roll_back(index.path, to=1)
    report = prune(index.path, unfinished=True)
    assert report.kept_versions == [4, 5]
    assert sorted(path.name for path in index.galleries.iterdir()) == [NAMES[0], NAMES[3]]
    index.open().close()


def test_freed_bytes_are_those_of_files_that_lost_their_last_name(index, tmp_path):
    os.link(index.galleries / NAMES[0] / "embeddings.f16", tmp_path / "elsewhere")
    (index.galleries / NAMES[1] / "embeddings.f16").unlink()
    os.link(
        index.galleries / NAMES[3] / "embeddings.f16",
        index.galleries / NAMES[1] / "embeddings.f16",
    )
    dry = prune(index.path, is_dry_run=True)
    before = sizes_by_identity(tmp_path)
    report = prune(index.path)
    after = sizes_by_identity(tmp_path)
    lock = index.path / "lock"
    gone = sum(size for identity, size in before.items() if identity not in after)
    assert report.freed_bytes == dry.freed_bytes == gone > 0
    assert lock.is_file() and (tmp_path / "elsewhere").is_file()


def test_a_dry_run_tells_the_same_and_touches_nothing(index):
    before = tree(index.path)
    dry = prune(index.path, is_dry_run=True)
    assert tree(index.path) == before
    wet = prune(index.path)
    assert (dry.removed, dry.removed_versions) == (wet.removed, wet.removed_versions)
    assert (dry.is_dry_run, wet.is_dry_run) == (True, False)
    assert f"galleries/{NAMES[0]}" in dry.removed


def test_a_damaged_gallery_of_a_kept_version_does_not_stop_it(index):
    shutil.rmtree(index.galleries / NAMES[2])
    (index.galleries / NAMES[3] / "items.sqlite").write_text("damaged")
    assert prune(index.path).removed_versions == [1, 2]
    assert (index.galleries / NAMES[3]).is_dir()


def test_a_damaged_record_of_a_kept_version_is_refused_and_nothing_goes(index):
    place = index.record_path(3)
    place.write_text(place.read_text().replace("random", "Random"))
    with pytest.raises(GalleryIndexError, match=r"3\.json is to be kept but damaged.* delete it"):
        prune(index.path)
    assert index.versions() == [1, 2, 3, 4] and (index.galleries / NAMES[0]).is_dir()
    assert prune(index.path, keep=1).kept_versions == [4]


def test_a_version_that_was_never_served_goes_and_its_number_is_not_used_again(index, capsys):
    (index.path / "current").write_text("3\n")
    dry = prune(index.path, is_dry_run=True)
    report = prune(index.path)
    assert replace(report, is_dry_run=True) == dry
    assert (report.kept_versions, report.removed_versions) == ([2, 3], [1, 4])
    assert "version 4 is not served" in capsys.readouterr().err
    assert not (index.galleries / NAMES[3]).exists()
    assert prune(index.path).removed == []
    assert publish_captions(index, unit_rows(20, seed=9), NAMES[3]) == 5
    assert "versions/.never-served-4.json" in prune(index.path).removed
    assert not list((index.path / "versions").glob(".*"))


def test_unfinished_work_stays_unless_it_is_asked_for(index):
    begun, finished = (index.galleries / f".work-captions-{digit * 16}" for digit in "ab")
    for folder, led_to in ((begun, "captions-" + "9" * 16), (finished, NAMES[3])):
        folder.mkdir()
        (folder / "00000000.npz").write_bytes(b"x" * 500)
        (folder / "leads-to").write_text(led_to)
    an_hour_ago = time.time() - 3600
    for place in (*begun.iterdir(), begun):
        os.utime(place, (an_hour_ago, an_hour_ago))
    report = prune(index.path)
    assert begun.is_dir() and not finished.exists()
    told = {Path(work.name).name: work for work in report.unfinished}
    assert set(told) == {begun.name, ".work-images-0123456789abcdef"}
    assert told[begun.name].size_bytes == 525
    assert 3600 <= told[begun.name].age_s < 3700
    again = prune(index.path, unfinished=True)
    assert again.unfinished == [] and set(again.removed) == {work.name for work in told.values()}
    assert not list(index.galleries.glob(".work-*"))


def test_finished_work_that_a_killed_prune_half_removed_goes_with_the_next(tmp_path):
    publish_captions(IndexFolder(tmp_path / "index"), unit_rows(20), NAMES[0])
    for step in itertools.count(1):
        copy = IndexFolder(shutil.copytree(tmp_path / "index", tmp_path / f"copy{step}"))
        work = copy.galleries / ".work-captions-0123456789abcdef"
        work.mkdir()
        for name, content in (("leads-to", NAMES[0]), ("00000000.npz", "x"), ("1.npz", "x")):
            (work / name).write_text(content)
        is_killed = prune_killed_at(copy.path, step, unfinished=False)
        prune(copy.path)
        assert [path.name for path in copy.galleries.iterdir()] == [NAMES[0]]
        if not is_killed:
            break
    assert step > 4


def test_one_writer_at_a_time_and_no_index_makes_no_folder(index, tmp_path):
    with index.writing(), pytest.raises(GalleryIndexError, match="another process is writing"):
        prune(index.path)
    with pytest.raises(GalleryIndexError, match="holds no index"):
        prune(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def prune_killed_at(path, step, *, unfinished=True):
    """Prune in a process that dies at its `step`-th change of the disk; return whether it did."""
    child = os.fork()
    if child == 0:
        try:
            _die_at(step)
            prune(path, unfinished=unfinished)
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _die_at(step):
    done = 0

    def counted(real):
        def call(*args, **kwargs):
            nonlocal done
            done += 1
            if done == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in ("unlink", "rmdir", "rename", "fsync"):
        setattr(os, name, counted(getattr(os, name)))


def test_a_prune_killed_at_any_step_leaves_whole_versions_and_a_second_one_finishes(
    index, tmp_path
):
    steps = 0
    while True:
        steps += 1
        copy = IndexFolder(shutil.copytree(index.path, tmp_path / f"copy{steps}"))
        if not prune_killed_at(copy.path, steps):
            break
        assert copy.current() == 4
        for version in copy.versions():
            copy.open(version).close()
        report = prune(copy.path, unfinished=True)
        assert report.kept_versions == [3, 4]
        assert sorted(path.name for path in copy.galleries.iterdir()) == NAMES[2:]
        assert not list(copy.path.rglob(".*")) + list(copy.checkpoints.iterdir())
        shutil.rmtree(copy.path)
    assert steps > 15
