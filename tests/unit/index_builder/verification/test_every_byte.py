"""One flipped byte anywhere below an index is found, and the sentence names its file."""

import random

import pytest

from index_builder.index_folder.version_record import read_version_record
from index_builder.index_folder.versions import IndexFolder
from index_builder.index_folder.vouched_files import files_below
from index_builder.verification import verify_index
from index_builder.verification.findings import Check
from index_builder.verification.folder import check_current
from model.errors import GalleryIndexError
from tests.unit.index_builder.verification.tampering import flipped


def vouched_files(path):
    """Every file of an index but the lock, with the version that vouches for it; None: served."""
    index = IndexFolder(path)
    served = {gallery.folder for gallery in index.record().galleries}
    for name in files_below(path):
        folder = "/".join(name.split("/")[:2])
        is_old = name.startswith("galleries/") and folder not in served
        if name != "lock":
            yield name, 1 if is_old else None


def test_a_flipped_byte_of_any_file_is_found_and_the_file_named(two_versions):
    index = two_versions
    assert not verify_index(index, sample=0).problems
    names = [name for name, _ in vouched_files(index)]
    assert {"current", "versions/1.json", "versions/2.json", "rejected.jsonl"} <= set(names)
    assert len(names) > 22
    random_places = random.Random(0)
    for name, version in vouched_files(index):
        path = index / name
        size = path.stat().st_size
        if size == 0:
            assert path.name == "tombstones"
            path.write_bytes(b"\0")
            report = verify_index(index, version=version, sample=0)
            path.write_bytes(b"")
            assert any(name in problem for problem in report.problems), name
            continue
        place = random_places.randrange(size)
        flip_back = flipped(path, place)
        report = verify_index(index, version=version, sample=0)
        flip_back()
        assert any(name in problem for problem in report.problems), (name, place)
    assert not verify_index(index, sample=0).problems


def test_every_flip_of_every_byte_of_current_is_found(two_versions):
    index = IndexFolder(two_versions)
    for place in (0, 1):
        for bits in range(1, 256):
            flip_back = flipped(two_versions / "current", place, bits)
            check = Check("index", "current")
            check_current(index, check)
            flip_back()
            assert any("current" in problem for problem in check.problems), (place, bits)


def test_a_flip_of_any_byte_of_a_version_is_refused(two_versions):
    place = two_versions / "versions" / "2.json"
    read_version_record(place)
    bits = random.Random(1)
    for byte in range(place.stat().st_size):
        flip_back = flipped(place, byte, bits.randrange(1, 256))
        with pytest.raises(GalleryIndexError, match=r"2\.json"):
            read_version_record(place)
        flip_back()
    read_version_record(place)


def test_a_missing_and_a_strange_file_are_found_in_every_folder(copy):
    index = copy()
    (gallery,) = index.glob("galleries/images-*")
    (checkpoint,) = index.glob("checkpoints/*")
    gone = [index / "rejected.jsonl", gallery / "items.sqlite", checkpoint / "config.json"]
    strange = [place / "strange.txt" for place in (index, index / "versions", gallery, checkpoint)]
    for path in gone:
        path.unlink()
    for path in strange:
        path.write_text("strange")
    problems = verify_index(index).problems
    for path in (*gone, *strange):
        name = path.relative_to(index).as_posix()
        assert any(name in problem for problem in problems), name
