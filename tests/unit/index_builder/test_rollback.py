"""Rolling back: an earlier version answers again, bit for bit, as a version of its own."""

import json
import re

import pytest

from index_builder.build import build_index
from index_builder.index_folder.versions import IndexFolder
from index_builder.rollback import roll_back
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import publish_captions, rewrite_version, unit_rows
from tests.worlds import made_up_picture, tiny_checkpoint

QUERIES = unit_rows(5, seed=99)
NAMES = [f"captions-{digit * 16}" for digit in "0123"]


def hits_of(index, version=None):
    opened = index.open(version)
    hits = opened.captions.search(QUERIES, 10)
    opened.close()
    return hits


@pytest.fixture
def index(tmp_path):
    """Three versions that answer differently; the third is served."""
    folder = IndexFolder(tmp_path / "index")
    for version, name in enumerate(NAMES[:3], 1):
        assert publish_captions(folder, unit_rows(30, seed=version), name) == version
    return folder


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_answers_are_those_of_the_version_brought_back_bit_for_bit(tmp_path, kind):
    index = IndexFolder(tmp_path / "index")
    publish_captions(index, unit_rows(200), NAMES[0], index_kind=kind)
    expected = hits_of(index)
    publish_captions(index, unit_rows(200, seed=1), NAMES[1], index_kind=kind)
    assert hits_of(index) != expected
    report = roll_back(index.path)
    assert (report.version, report.served_before, report.restored_from) == (3, 2, 1)
    assert (report.is_new_version, report.caption_count, report.image_count) == (True, 200, None)
    assert index.current() == 3 == max(index.versions())
    assert hits_of(index) == expected == hits_of(index, 1)


def test_a_second_rollback_goes_one_further_back_and_never_to_the_bad_one(index):
    expected = {version: hits_of(index, version) for version in (1, 2, 3)}
    assert roll_back(index.path).restored_from == 2
    assert hits_of(index) == expected[2]
    assert roll_back(index.path).restored_from == 1
    assert hits_of(index) == expected[1]
    assert (index.current(), index.record().origin) == (5, 1)
    with pytest.raises(
        GalleryIndexError,
        match=re.escape(
            "serves version 5, which brought 1 back, and has nothing older that differs"
        ),
    ) as refused:
        roll_back(index.path)
    assert "name one of [2, 3, 4] with --to" in str(refused.value)


def test_what_was_rolled_back_from_can_be_brought_back_and_left_again(index):
    roll_back(index.path)
    report = roll_back(index.path, to=3)
    assert (report.version, index.record().origin) == (5, 3)
    assert hits_of(index) == hits_of(index, 3)
    assert roll_back(index.path).restored_from == 2
    assert hits_of(index) == hits_of(index, 2)
    assert index.record().origin == 2


def test_versions_that_answer_alike_are_passed_over(index):
    record = json.loads(index.record_path(2).read_text())
    rewrite_version(index.path, 3, captions=record["captions"])
    assert roll_back(index.path).restored_from == 1


def test_rolling_back_to_what_is_served_changes_nothing(index):
    report = roll_back(index.path, to=3)
    assert (report.version, report.is_new_version) == (3, False)
    roll_back(index.path)
    assert not roll_back(index.path, to=2).is_new_version
    assert index.versions() == [1, 2, 3, 4]


def test_a_damaged_version_is_not_switched_to(index):
    place = index.galleries / NAMES[1] / "items.sqlite"
    content = bytearray(place.read_bytes())
    content[len(content) // 2] ^= 1
    place.write_bytes(content)
    with pytest.raises(GalleryIndexError, match=r"items\.sqlite has sha256"):
        roll_back(index.path)
    assert (index.current(), index.versions()) == (3, [1, 2, 3])
    assert roll_back(index.path, to=1).version == 4


def test_a_served_version_whose_record_is_damaged_is_left_by_a_rollback(index):
    place = index.record_path(3)
    place.write_text(place.read_text().replace('"random"', '"rAndom"'))
    with pytest.raises(GalleryIndexError, match=r"3\.json is not what its record_sha256"):
        index.open()
    assert roll_back(index.path).restored_from == 2
    assert hits_of(index) == hits_of(index, 2)


def test_a_version_that_was_never_switched_to_is_set_aside_by_the_next_writer(index, capsys):
    record = index.record_path(3).read_bytes()
    (index.path / "current").write_text("2\n")
    assert index.never_served() == 3
    assert roll_back(index.path).version == 4
    assert (index.current(), index.versions()) == (4, [1, 2, 4])
    aside = index.path / "versions" / ".never-served-3.json"
    assert aside.read_bytes() == record
    assert f"its record is now {aside}" in capsys.readouterr().err
    assert hits_of(index) == hits_of(index, 1)


def test_a_current_that_no_killed_writer_left_is_refused(index):
    (index.path / "current").write_text("1\n")
    for call in (
        lambda: roll_back(index.path, to=2),
        lambda: publish_captions(index, unit_rows(3), NAMES[3]),
    ):
        with pytest.raises(GalleryIndexError, match=r"says 1 but versions \[2, 3\] .* write 3"):
            call()
    assert index.versions() == [1, 2, 3]


def test_no_index_is_one_sentence_and_makes_no_folder(tmp_path):
    with pytest.raises(GalleryIndexError, match="holds no index"):
        roll_back(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


@pytest.fixture
def built(tmp_path):
    """A real index of two builds: a picture that cannot be read was taken away between them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        made_up_picture(number).save(photos / f"{number}.png")
    (photos / "broken.png").write_text("no picture")
    checkpoint = tiny_checkpoint(tmp_path)
    arguments = {"checkpoint": checkpoint, "images": photos, "output": tmp_path / "index"}
    build_index(**arguments)
    (photos / "broken.png").unlink()
    made_up_picture(4).save(photos / "4.png")
    build_index(**arguments)
    return IndexFolder(tmp_path / "index")


def test_what_was_set_aside_is_told_anew_for_what_is_served(built):
    assert (built.path / "rejected.jsonl").read_text() == ""
    roll_back(built.path)
    (line,) = (built.path / "rejected.jsonl").read_text().splitlines()
    assert json.loads(line)["source"] == "broken.png"


def test_a_version_whose_kept_checkpoint_is_damaged_is_not_switched_to(built):
    weights = built.open().checkpoint_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(GalleryIndexError, match=r"model.safetensors has sha256 .* says"):
        roll_back(built.path)
    assert built.current() == 2


def test_the_number_of_a_served_version_whose_record_is_lost_is_not_used_again(index):
    expected = hits_of(index, 2)
    index.record_path(3).unlink()
    report = roll_back(index.path)
    assert (report.version, report.served_before, report.restored_from) == (4, 3, 2)
    assert report.is_new_version and index.versions() == [1, 2, 4]
    assert hits_of(index) == expected
