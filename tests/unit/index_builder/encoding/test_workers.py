"""Processes that read pictures: what they say is what one process says, whatever befalls them."""

import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from index_builder.encoding import workers
from index_builder.encoding.reading import PictureReader
from index_builder.encoding.workers import read_pictures
from index_builder.sources import ImageEntry, open_image_source
from model.config import PreprocessorConfig
from model.errors import GalleryIndexError
from model.inputs.pictures import PictureTransform
from tests.unit.index_builder.encoding.deadly_sources import DeadlySource, UnreadableSource
from tests.unit.index_builder.sources.layouts import write_samples
from tests.worlds import made_up_picture

NAMES = [f"{number}.png" for number in range(19)]


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        made_up_picture(number).save(folder / name)
    (folder / NAMES[4]).write_text("text")
    (folder / NAMES[17]).unlink()
    return folder


def readings(source, *, worker_count, ahead_count=4, entries=None, side=32):
    transform = PictureTransform(PreprocessorConfig(image_size=side, resize="squash"))
    reader = PictureReader(source, transform, max_pixels=10_000)
    return read_pictures(
        reader,
        entries or [ImageEntry(name, name) for name in NAMES],
        worker_count=worker_count,
        pixel_shape=(3, side, side),
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
            r.display_copy,
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


def test_processes_send_display_copies_within_any_bound(photos, monkeypatch):
    (photos / NAMES[17]).touch()
    source = open_image_source(write_samples(photos, [{"path": name} for name in NAMES]))
    entries = list(source.entries())
    expected = as_tuples(readings(source, worker_count=0, entries=entries))
    assert [row[5] is not None for row in expected].count(True) == 17
    monkeypatch.setattr(workers, "_MOST_WAITING_BYTES", 1)
    assert as_tuples(readings(source, worker_count=2, entries=entries)) == expected


def test_processes_wait_while_many_bytes_of_display_copies_do(photos, monkeypatch):
    for number, name in enumerate(NAMES[:4]):
        made_up_picture(number, side=96).save(photos / name)
    source = open_image_source(write_samples(photos, [{"path": name} for name in NAMES[:4]]))
    entries = list(source.entries())
    copies = [found.display_copy for found in readings(source, worker_count=0, entries=entries)]
    task_bytes = sum(map(len, copies)) * workers._TASK_SIZE // len(copies)
    # Of two tasks; of their pixels more would be let through.
    monkeypatch.setattr(workers, "_MOST_WAITING_BYTES", 2 * task_bytes)
    taken = []
    found = readings(
        source,
        worker_count=1,
        ahead_count=1000,
        entries=(taken.append(entry) or entry for entry in entries * 100),
        side=16,
    )
    next(found)
    time.sleep(0.3)
    # Two wait, and the process and the consumer have one more each.
    assert len(taken) <= 4 * workers._TASK_SIZE
    found.close()


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


def test_a_process_that_reads_pictures_imports_neither_torch_nor_faiss(tmp_path):
    """They would cost it seconds to start and 200 MB to run."""
    made_up_picture(1).save(tmp_path / "1.png")
    transform = PictureTransform(PreprocessorConfig())
    reader = PictureReader(open_image_source(tmp_path), transform, max_pixels=10**6)
    script = (
        "import pickle, sys; import index_builder.encoding.workers; "
        "from index_builder.sources import ImageEntry; "
        "reader = pickle.loads(bytes.fromhex(sys.argv[1])); "
        "assert reader.read(ImageEntry('1', '1.png')).payload is not None; "
        "print([name for name in ('torch', 'faiss', 'transformers') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, pickle.dumps(reader).hex()]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
