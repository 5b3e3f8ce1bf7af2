import numpy as np
import pytest

from index_builder.parts import PartDraft, State, part_ranges, read_part
from index_builder.reading import Reading, Reason
from model.errors import GalleryIndexError
from tests.unit.index_builder.galleries import unit_rows

DIGESTS = [bytes([n]) * 32 for n in range(4)]
READINGS = [
    Reading(DIGESTS[0], (10, 11), width=3, height=4, thumbnail=b"one"),
    Reading(None, (-1, 2), Reason("missing", "no such file")),
    Reading(DIGESTS[1], (20, 21), is_known=True),
    Reading(DIGESTS[2], (30, 31), width=5, height=6, thumbnail=b"three"),
]


@pytest.fixture
def path(tmp_path):
    draft = PartDraft(4, "images-1")
    for reading in READINGS:
        draft.add(reading)
    draft.add_content(DIGESTS[0], b"one")
    draft.add_content(DIGESTS[2], b"three")
    draft.add_vectors(unit_rows(1))
    draft.add_vectors(unit_rows(1, seed=1))
    draft.write(tmp_path / "0.npz", 16)
    return tmp_path / "0.npz"


def test_a_part_comes_back_as_it_was_written(path):
    part = read_part(path, 4)
    assert part.base == "images-1"
    assert part.rows["state"].tolist() == [
        State.ENCODED, State.SET_ASIDE, State.KNOWN, State.ENCODED
    ]  # fmt: skip
    assert part.row_digests() == [DIGESTS[0], bytes(32), DIGESTS[1], DIGESTS[2]]
    assert part.rows["stamp"].tolist() == [list(reading.stamp) for reading in READINGS]
    assert part.rows["size"].tolist() == [[3, 4], [0, 0], [0, 0], [5, 6]]
    assert part.reasons == {1: Reason("missing", "no such file")}
    assert (part.digests, part.thumbnails()) == ((DIGESTS[0], DIGESTS[2]), [b"one", b"three"])
    np.testing.assert_array_equal(
        part.vectors(), np.concatenate([unit_rows(1), unit_rows(1, seed=1)])
    )


def test_a_part_without_contents_has_none(tmp_path):
    draft = PartDraft(1, "")
    draft.add(READINGS[1])
    draft.write(tmp_path / "0.npz", 16)
    part = read_part(tmp_path / "0.npz", 1)
    assert (part.digests, part.thumbnails(), part.vectors().shape) == ((), [], (0, 16))


def test_the_same_entries_make_the_same_bytes(path, tmp_path):
    before = path.read_bytes()
    path.unlink()
    draft = PartDraft(4, "images-1")
    for reading in READINGS:
        draft.add(reading)
    draft.add_content(DIGESTS[0], b"one")
    draft.add_content(DIGESTS[2], b"three")
    draft.add_vectors(np.concatenate([unit_rows(1), unit_rows(1, seed=1)]))
    draft.write(path, 16)
    assert path.read_bytes() == before


def test_every_shortened_part_and_one_of_another_size_is_none(path):
    whole = path.read_bytes()
    assert read_part(path, 3) is None
    assert read_part(path.with_name("1.npz"), 4) is None
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert read_part(path, 4) is None


def test_a_changed_byte_in_the_vectors_is_noticed_when_they_are_read(path):
    content = bytearray(path.read_bytes())
    place = content.index(unit_rows(1).tobytes())
    content[place + 5] ^= 1
    path.write_bytes(content)
    part = read_part(path, 4)
    with pytest.raises(GalleryIndexError, match=r"is damaged .* delete it and build again"):
        part.vectors()


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_parts_are_cut_at_fixed_places_and_cover_everything(count, size):
    ranges = list(part_ranges(count, size))
    assert [place for start, stop in ranges for place in range(start, stop)] == list(range(count))
    assert all(start % size == 0 for start, _ in ranges)
    # Growing the listing leaves every full part where it was.
    full = [ends for ends in ranges if ends[1] - ends[0] == size]
    assert full == list(part_ranges(count + 50, size))[: len(full)]
