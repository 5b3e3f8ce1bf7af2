"""The work folder of a build that is served already is taken away, whatever is killed meanwhile."""

import os

import pytest

from index_builder.encoding.work import Request, WorkFolder, remove_finished_work
from index_builder.index_folder.versions import IndexFolder
from tests.unit.index_builder.stopping import StoppedError

LED_TO = "captions-0000000000000000"


@pytest.fixture
def work(tmp_path):
    """A work folder with two parts that led to a gallery."""
    with IndexFolder(tmp_path / "index").writing() as index:
        request = Request(
            format=0,
            kind="captions",
            checkpoint_fingerprint="ab" * 32,
            precision="float32",
            max_pixels=1,
            batch_size=1,
            part_size=1,
            listing_sha256="cd" * 32,
        )
        folder = WorkFolder.open(index.galleries, request)
        for number in (0, 1):
            folder.part_path(number).write_bytes(b"part")
        folder.note_result(LED_TO)
    return folder


@pytest.mark.parametrize("stops_at", range(1, 5))
def test_finished_work_that_was_half_removed_is_no_work_to_go_on_with(work, monkeypatch, stops_at):
    galleries, real, calls = work.path.parent, os.unlink, 0

    def unlink(*given, **named):
        nonlocal calls
        calls += 1
        if calls == stops_at:
            raise StoppedError
        return real(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink)
        with pytest.raises(StoppedError):
            remove_finished_work(galleries, [LED_TO])
    with IndexFolder(galleries.parent).writing():
        remove_finished_work(galleries, [LED_TO])
    assert list(galleries.iterdir()) == []


def test_work_that_led_to_another_gallery_stays(work):
    remove_finished_work(work.path.parent, ["captions-1111111111111111"])
    assert work.part_path(1).read_bytes() == b"part"
