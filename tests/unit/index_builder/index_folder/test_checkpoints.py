"""The copy of a checkpoint inside an index, and what a version says about its files."""

import errno
import itertools
import os
import resource
import shutil

import pytest

from index_builder.build import build_index
from index_builder.index_folder import checkpoints
from index_builder.index_folder.checkpoints import keep_checkpoint
from index_builder.index_folder.versions import IndexFolder
from index_builder.index_folder.vouched_files import records_of_files
from index_builder.pruning import prune
from index_builder.verification import verify_index
from model.dual_encoder import load_dual_encoder
from model.errors import GalleryIndexError
from model.identifiers import sha256_of_file
from tests.worlds import tiny_checkpoint


@pytest.fixture
def built(tmp_path):
    checkpoint = tiny_checkpoint(tmp_path)
    (checkpoint / "README.md").write_text("# A card")
    (tmp_path / "captions.txt").write_text("a dog\na cat\n")
    index = tmp_path / "index"

    def build():
        captions = tmp_path / "captions.txt"
        return build_index(checkpoint=checkpoint, captions=captions, output=index)

    build()
    return build, checkpoint, IndexFolder(index)


def test_a_version_vouches_for_every_file_of_its_checkpoint(built):
    _, _, index = built
    record = index.record().checkpoint
    folder = index.path / record.folder
    assert {"README.md", "config.json", "model.safetensors"} <= set(record.files)
    assert record.files == records_of_files(folder)
    for name, file in record.files.items():
        assert file.sha256 == sha256_of_file(folder / name)


def test_an_unchanged_copy_is_kept_and_vouched_for_alike(built):
    build, _, index = built
    before = index.record()
    assert not build().is_new_version
    assert index.record() == before


@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_a_kept_file_that_was_written_to_is_copied_anew(built, name, capsys):
    build, _, index = built
    place = index.path / index.record().checkpoint.folder / name
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    assert any(name in problem for problem in verify_index(index.path).problems)
    build()
    assert "was written to since it was kept; it is copied anew" in capsys.readouterr().err
    assert verify_index(index.path).problems == []


def overwrite(file):
    """Change one byte of a file in place."""
    with file.open("r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([file.read_bytes()[-1] ^ 1]))


def assert_is_served(index):
    """The kept checkpoint is there and is the network that the served version names."""
    opened = index.open()
    opened.check_encoder(load_dual_encoder(opened.checkpoint_path).fingerprint, "kept")
    opened.close()


@pytest.mark.parametrize("name", ["README.md", "model.safetensors"])
def test_a_file_that_is_overwritten_where_it_was_trained_leaves_the_served_copy_as_it_is(
    built, name
):
    build, checkpoint, index = built
    overwrite(checkpoint / name)
    assert verify_index(index.path).problems == []
    if name == "README.md":
        before = index.record()
        assert not build().is_new_version
        assert index.record() == before


def test_a_checkpoint_that_was_overwritten_after_it_was_loaded_is_not_kept(built):
    _, checkpoint, index = built
    encoder = load_dual_encoder(checkpoint)
    shutil.rmtree(index.path / index.record().checkpoint.folder)
    overwrite(checkpoint / "model.safetensors")
    with pytest.raises(GalleryIndexError, match="was written to after fingerprint"):
        keep_checkpoint(index, checkpoint, encoder)


def test_files_of_a_hub_cache_are_linked_and_all_others_copied(built, tmp_path):
    _, checkpoint, index = built
    kept = index.path / index.record().checkpoint.folder
    assert not any(
        (kept / name).samefile(checkpoint / name) for name in ("README.md", "config.json")
    )
    blob = tmp_path / "models--a--b" / "blobs" / "0123"
    blob.parent.mkdir(parents=True)
    weights = checkpoint / "model.safetensors"
    weights.rename(blob)
    weights.symlink_to(blob)
    (checkpoint / "README.md").rename(tmp_path / "card")
    (checkpoint / "README.md").symlink_to(tmp_path / "card")
    shutil.rmtree(kept)
    keep_checkpoint(index, checkpoint, load_dual_encoder(checkpoint))
    assert (kept / "model.safetensors").samefile(blob)
    assert not (kept / "README.md").samefile(tmp_path / "card")
    assert not any(path.is_symlink() for path in kept.rglob("*"))
    assert_is_served(index)


def test_a_full_disk_leaves_the_kept_checkpoint_and_the_next_writers_too(built, monkeypatch):
    build, _, index = built
    kept = index.path / index.record().checkpoint.folder
    overwrite(kept / "README.md")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(GalleryIndexError, match="what was served before is still served"):
            build()
    assert_is_served(index)
    with index.writing():
        assert [path.name for path in index.checkpoints.iterdir()] == [kept.name]
    assert_is_served(index)


class KilledError(BaseException):
    """Nothing catches it, as nothing runs after a kill."""


def _die_at(step, patch):
    """Die at the `step`-th change of the disk."""
    done = 0

    def counted(real):
        def call(*args, **kwargs):
            nonlocal done
            done += 1
            if done == step:
                raise KilledError
            return real(*args, **kwargs)

        return call

    for name in ("rename", "fsync", "unlink", "rmdir", "mkdir"):
        patch.setattr(os, name, counted(getattr(os, name)))


@pytest.mark.parametrize("next_writer", ["build", "prune"])
def test_a_kill_at_any_step_of_a_replacement_leaves_a_whole_checkpoint(
    built, tmp_path, monkeypatch, next_writer
):
    _, checkpoint, index = built
    overwrite(index.path / index.record().checkpoint.folder / "README.md")
    encoder = load_dual_encoder(checkpoint)
    is_missing = []
    for dies_at in itertools.count(1):
        copy = IndexFolder(shutil.copytree(index.path, tmp_path / f"copy{dies_at}"))
        kept = copy.path / copy.record().checkpoint.folder
        with monkeypatch.context() as patch, copy.writing():
            _die_at(dies_at, patch)
            try:
                keep_checkpoint(copy, checkpoint, encoder)
                break
            except KilledError:
                is_missing.append(not kept.exists())
        if next_writer == "prune":
            prune(copy.path)
        else:
            with copy.writing():
                pass
        assert [path.name for path in copy.checkpoints.iterdir()] == [kept.name]
        assert_is_served(copy)
        shutil.rmtree(copy.path)
    assert sum(is_missing) == 1  # between the two renames


def test_a_copy_that_changes_during_a_build_is_refused_and_stays(built, tmp_path, monkeypatch):
    build, _, index = built
    kept = index.path / index.record().checkpoint.folder
    real = checkpoints.KeptCheckpoint.check_unchanged

    def after_an_edit(self):
        overwrite(kept / "README.md")
        real(self)

    (tmp_path / "captions.txt").write_text("a dog\na bird\n")
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.KeptCheckpoint, "check_unchanged", after_an_edit)
        with pytest.raises(GalleryIndexError, match=r"written to while .* which copies it anew"):
            build()
    assert index.versions() == [1]
    assert_is_served(index)
    assert build().version == 2
    assert verify_index(index.path).problems == []


def test_a_copy_that_cannot_be_written_is_told_by_its_own_place(tmp_path, capsys):
    """The limit on file size stands for a full disk; `capsys` keeps prints in memory."""
    checkpoint, index = tiny_checkpoint(tmp_path), IndexFolder(tmp_path / "index")
    encoder = load_dual_encoder(checkpoint)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(GalleryIndexError) as caught, index.writing():
            keep_checkpoint(index, checkpoint, encoder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert f"cannot write {index.checkpoints}" in str(caught.value)
