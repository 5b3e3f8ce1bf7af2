"""Processes that read pictures: what they say is what one process says, whatever befalls them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from index_builder.reading import PictureReader
from index_builder.sources import ImageEntry, open_image_source
from index_builder.sources.picture_file import read_picture_file
from index_builder.workers import read_pictures
from model.config import PreprocessorConfig
from model.errors import GalleryIndexError
from model.inputs.pictures import PictureTransform
from tests.worlds import made_up_picture

TRANSFORM = PictureTransform(PreprocessorConfig(image_size=32, resize="squash"))
NAMES = [f"{number}.png" for number in range(19)]


@dataclass(frozen=True)
class DeadlySource:
    """A folder in which reading some pictures ends the process, as a hostile file may."""

    root: Path
    deadly: dict[str, int]
    description = "photos"

    def entries(self):
        return iter(())

    def read(self, entry):
        if entry.path in self.deadly:
            os.kill(os.getpid(), self.deadly[entry.path])
        return read_picture_file(self.root, entry.path)


class UnreadableSource:
    """A source that does not arrive in another process."""

    root = None
    description = "photos"

    def __reduce__(self):
        return (_refuse, ())


def _refuse():
    os._exit(7)


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(NAMES):
        made_up_picture(number).save(tmp_path / name)
    (tmp_path / NAMES[4]).write_text("text")
    (tmp_path / NAMES[17]).unlink()
    return tmp_path


def readings(source, *, worker_count, ahead_count=4, names=NAMES):
    reader = PictureReader(source, TRANSFORM, max_pixels=10_000)
    return read_pictures(
        reader,
        (ImageEntry(name, name) for name in names),
        worker_count=worker_count,
        pixel_shape=(3, 32, 32),
        slots=source.root / ".pixels" if source.root else Path(".pixels"),
        ahead_count=ahead_count,
    )


def as_tuples(found):
    return [
        (
            r.content,
            r.stamp,
            r.reason,
            (r.width, r.height),
            r.thumbnail,
            None if r.payload is None else r.payload.tobytes(),
        )
        for r in found
    ]


def test_processes_say_what_one_process_says_and_leave_nothing(photos):
    source = open_image_source(photos)
    expected = as_tuples(readings(source, worker_count=0))
    assert [row[2] is None for row in expected].count(False) == 2
    assert as_tuples(readings(source, worker_count=2)) == expected
    assert not (photos / ".pixels").exists()


def test_a_picture_that_crashes_its_process_is_set_aside_alone(photos):
    source = DeadlySource(photos, {NAMES[2]: signal.SIGSEGV})
    found = list(readings(source, worker_count=1))
    expected = list(readings(open_image_source(photos), worker_count=0))
    for name, ours, theirs in zip(NAMES, found, expected, strict=True):
        if name in source.deadly:
            assert ours.reason.code == "crashed"
            assert "SIGSEGV" in ours.reason.sentence
            assert ours.stamp == theirs.stamp
        else:
            assert ours.reason == theirs.reason
            np.testing.assert_array_equal(ours.payload, theirs.payload)


def test_a_process_that_is_killed_twice_at_one_picture_is_one_sentence(photos):
    source = DeadlySource(photos, {NAMES[2]: signal.SIGKILL})
    with pytest.raises(
        GalleryIndexError, match=r"ended twice at 2\.png \(SIGKILL; .* fewer --workers"
    ):
        list(readings(source, worker_count=1))
    assert not (photos / ".pixels").exists()


def test_processes_that_cannot_start_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = readings(UnreadableSource(), worker_count=1)
    with pytest.raises(GalleryIndexError, match=r"cannot start \(exit status 7\).* --workers 0"):
        list(found)


def test_a_consumer_that_leaves_early_leaves_no_process(photos):
    found = readings(open_image_source(photos), worker_count=1)
    next(found)
    found.close()
    assert not (photos / ".pixels").exists()
