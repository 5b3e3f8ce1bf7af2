import errno
import json
import os
import re
import sqlite3
import subprocess

import pytest

from index_builder.index_folder.versions import IndexFolder
from model.errors import GalleryIndexError, NoIndexError
from tests.unit.index_builder.stopping import StoppedError
from tests.unit.index_builder.written_galleries import (
    FINGERPRINT,
    publish_captions,
    rewrite_version,
    unit_rows,
)

OLD, NEW = unit_rows(20), unit_rows(25, seed=1)
NEW_NAME = "captions-1111111111111111"


@pytest.fixture
def index(tmp_path):
    folder = IndexFolder(tmp_path / "index")
    publish_captions(folder, OLD)
    return folder


def test_a_published_version_is_the_one_that_opens(index):
    opened = index.open()
    assert (index.current(), opened.version, opened.captions.count) == (1, 1, 20)
    assert opened.images is None
    assert (opened.captions.dim, opened.checkpoint_fingerprint) == (16, FINGERPRINT)
    assert opened.checkpoint_path == index.path / "checkpoints" / FINGERPRINT[:16]
    opened.close()


def test_an_older_version_stays_open_and_can_be_opened(index):
    old = index.open()
    assert publish_captions(index, NEW, NEW_NAME) == 2
    assert (index.current(), index.open().captions.count) == (2, 25)
    assert index.open(1).captions.count == 20
    assert len(old.captions.search(OLD[:1], 3)[0]) == 3
    with pytest.raises(GalleryIndexError, match=re.escape("no version 9; it has [1, 2]")):
        index.open(9)


def test_publishing_what_is_served_already_makes_no_version(index):
    assert publish_captions(index, OLD) == 1
    assert index.versions() == [1]


def test_a_version_number_is_never_used_twice(index):
    publish_captions(index, NEW, NEW_NAME)
    (index.path / "current").write_text("1\n")
    assert publish_captions(index, NEW, NEW_NAME) == 3


@pytest.mark.parametrize("call", ["fsync", "replace", "rename"])
def test_a_writer_that_dies_anywhere_leaves_the_old_version_served(index, monkeypatch, call):
    """Every single flush and rename fails in turn; the last round gets through."""
    real = getattr(os, call)
    for dies_at in range(1, 40):
        calls = 0

        def dying(*args, dies_at=dies_at, **kwargs):
            nonlocal calls
            calls += 1
            if calls == dies_at:
                raise RuntimeError("killed")
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, dying)
            try:
                version = publish_captions(index, NEW, NEW_NAME)
            except RuntimeError:
                opened = index.open()
                # After the last rename the new version may be served, whole; before it, the old.
                assert opened.captions.count == (20 if opened.version == 1 else 25)
                opened.close()
                continue
        break
    assert dies_at > 1
    opened = index.open()
    assert (opened.version, opened.captions.count) == (version, 25)
    assert not list(index.galleries.glob(".*"))


def test_what_a_killed_writer_left_is_removed_by_the_next(index):
    (index.galleries / ".images-abc").mkdir()
    (index.galleries / ".images-abc" / "half.sqlite").write_bytes(b"x")
    (index.path / ".current.tmp").write_text("7")
    with index.writing():
        pass
    assert not (index.galleries / ".images-abc").exists()
    assert not (index.path / ".current.tmp").exists()
    assert index.open().version == 1


def test_a_second_writer_gets_one_sentence(index):
    with (
        index.writing(),
        pytest.raises(
            GalleryIndexError, match=f"another process is writing .* .process {os.getpid()} since"
        ),
        IndexFolder(index.path).writing(),
    ):
        pass
    with index.writing():
        pass


def test_a_folder_with_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with (
        pytest.raises(GalleryIndexError, match=r"holds other things \(thesis.tex\)"),
        IndexFolder(tmp_path).writing(),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_no_index_and_damaged_current_are_one_sentence(tmp_path, index):
    with pytest.raises(GalleryIndexError, match=r"holds no index .* index_builder build"):
        IndexFolder(tmp_path / "nothing").open()
    (index.path / "current").write_text("../../etc/passwd\n")
    with pytest.raises(
        GalleryIndexError, match=re.escape("instead of a version and a line end; write one of [1]")
    ):
        index.open()


def test_a_lost_or_wrong_current_is_told_with_the_way_back(index):
    current = index.path / "current"
    current.write_text("99\n")
    with pytest.raises(
        GalleryIndexError,
        match=re.escape(f"no version 99; it has [1]; write one of those into {current}, which"),
    ):
        index.open()
    current.unlink()
    with pytest.raises(NoIndexError, match=re.escape(f"with: echo 1 > {current}")) as told:
        index.open()
    subprocess.run(str(told.value).rpartition("with: ")[2], shell=True, check=True)
    assert index.open().version == 1


def test_a_mistyped_index_is_told_those_near_it(tmp_path, index):
    for name, near in (("indxe", index.path), (".", index.path)):
        with pytest.raises(NoIndexError, match=re.escape(f"`current`; near it: {near}); make")):
            IndexFolder(tmp_path / name).open()


def test_an_index_that_is_being_built_or_was_not_finished_is_told_so(tmp_path):
    index = IndexFolder(tmp_path / "index")
    with pytest.raises(StoppedError), index.writing():
        with pytest.raises(NoIndexError, match=f"is being built by process {os.getpid()} since"):
            index.open()
        (index.galleries / ".work-images-0123456789abcdef").mkdir()
        raise StoppedError
    with pytest.raises(NoIndexError, match="its first build was not finished; give the same"):
        index.open()


@pytest.mark.parametrize("was_there", [True, False])
def test_a_first_build_that_fails_without_work_leaves_nothing(tmp_path, was_there):
    index = IndexFolder(tmp_path / "index")
    if was_there:
        index.path.mkdir()
    with pytest.raises(StoppedError), index.writing():
        (index.checkpoints / "0123456789abcdef").mkdir()
        (index.galleries / ".new-images").mkdir()
        raise StoppedError
    assert index.path.exists() is was_there and not list(tmp_path.glob("index/*"))


def test_a_manifest_that_the_version_does_not_vouch_for_is_refused(index):
    place = index.galleries / "captions-0000000000000000" / "manifest.json"
    text = place.read_text()
    place.write_text(text.replace('"recall_at_10": 1.0', '"recall_at_10": 0.9'))
    assert place.read_text() != text
    with pytest.raises(
        GalleryIndexError, match=r"manifest.json with sha256 .* but versions/1.json"
    ):
        index.open()


def test_a_gallery_of_another_checkpoint_is_refused_naming_both(index):
    other = {"fingerprint": "cd" * 32, "folder": "checkpoints/x", "name": "other", "files": {}}
    rewrite_version(index.path, checkpoint=other)
    with pytest.raises(GalleryIndexError, match=r"checkpoint abab.* but versions/1.json says cdcd"):
        index.open()


def test_galleries_in_the_wrong_place_are_refused(index):
    record = json.loads((index.path / "versions" / "1.json").read_text())
    rewrite_version(index.path, images=record["captions"], captions=None)
    with pytest.raises(GalleryIndexError, match=r"is a gallery of captions but .* says images"):
        index.open()


def test_an_encoder_with_another_fingerprint_is_refused_naming_both(index):
    opened = index.open()
    opened.check_encoder(FINGERPRINT, "runs/a")
    with pytest.raises(GalleryIndexError, match=r"runs/b has fingerprint cdcd.* built with abab"):
        opened.check_encoder("cd" * 32, "runs/b")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "free space and run"),
        (sqlite3.OperationalError("database or disk is full"), "free space and run"),
        (OSError(errno.EROFS, "Read-only file system"), "correct that and run"),
    ],
)
def test_a_full_disk_says_what_is_served_and_what_to_do(index, tmp_path, error, remedy):
    for folder, served in (
        (IndexFolder(tmp_path / "first"), "nothing is served"),
        (index, "what was served before is still served"),
    ):
        with (
            pytest.raises(GalleryIndexError, match=f"{served}; {remedy} the same command again"),
            folder.writing(),
        ):
            raise error
