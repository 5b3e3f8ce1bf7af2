"""The copy of a checkpoint inside an index, and what a version says about its files."""

import pytest

from index_builder.build import build_index
from index_builder.verification import verify_index
from index_builder.versions import IndexFolder
from index_builder.vouched_files import records_of_files
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
    place.unlink()  # it is hard-linked from where it was trained
    place.write_bytes(content)
    assert any(name in problem for problem in verify_index(index.path).problems)
    build()
    assert "was written to since it was kept; it is copied anew" in capsys.readouterr().err
    assert verify_index(index.path).problems == []


def test_a_card_that_is_edited_where_it_was_trained_makes_a_new_version(built):
    build, checkpoint, index = built
    kept = index.path / index.record().checkpoint.folder / "README.md"
    assert kept.samefile(checkpoint / "README.md")
    with (checkpoint / "README.md").open("a") as file:
        file.write("\nin place")
    assert verify_index(index.path).problems
    assert build().version == 2
    assert verify_index(index.path).problems == []
