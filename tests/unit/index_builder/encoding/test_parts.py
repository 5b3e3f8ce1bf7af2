import contextlib
import tracemalloc

import numpy as np
import pytest

from index_builder.encoding.parts import Part, PartDraft, State, part_ranges, read_part
from index_builder.encoding.reading import Reading, Reason
from model.errors import GalleryIndexError
from tests.unit.index_builder.written_galleries import unit_rows

DIGESTS = [bytes([n]) * 32 for n in range(4)]
READINGS = [
    Reading(DIGESTS[0], (10, 11), width=3, height=4, thumbnail=b"one", display_copy=b"large one"),
    Reading(None, (-1, 2), Reason("missing", "no such file")),
    Reading(DIGESTS[1], (20, 21), is_known=True, display_copy=b"large two"),
    Reading(DIGESTS[2], (30, 31), width=5, height=6, thumbnail=b"three"),
    Reading(DIGESTS[1], (20, 21), is_known=True, display_copy=b"large two"),
]


def write_part(path, *vectors):
    with PartDraft(path, 5, "images-1") as draft:
        for reading in READINGS:
            draft.add(reading)
        draft.add_content(DIGESTS[0], b"one")
        draft.add_content(DIGESTS[2], b"three")
        for some in vectors:
            draft.add_vectors(some)
        return draft.finish(16)


@pytest.fixture
def path(tmp_path):
    return write_part(tmp_path / "0.npz", unit_rows(1), unit_rows(1, seed=1)).path


def test_a_part_comes_back_as_it_was_written(path):
    part = read_part(path, 5)
    assert part.base == "images-1"
    assert part.rows["state"].tolist() == [
        State.ENCODED, State.SET_ASIDE, State.KNOWN, State.ENCODED, State.KNOWN
    ]  # fmt: skip
    assert part.row_digests() == [DIGESTS[0], bytes(32), DIGESTS[1], DIGESTS[2], DIGESTS[1]]
    assert part.rows["stamp"].tolist() == [list(reading.stamp) for reading in READINGS]
    assert part.rows["size"].tolist() == [[3, 4], [0, 0], [0, 0], [5, 6], [0, 0]]
    assert part.reasons == {1: Reason("missing", "no such file")}
    assert (part.digests, part.thumbnails()) == ((DIGESTS[0], DIGESTS[2]), [b"one", b"three"])
    # Each once, as it first appears, whether there is a vector of it or not.
    assert list(part.display_copies()) == [(DIGESTS[0], b"large one"), (DIGESTS[1], b"large two")]
    np.testing.assert_array_equal(
        part.vectors(), np.concatenate([unit_rows(1), unit_rows(1, seed=1)])
    )


def test_a_part_without_contents_has_none(tmp_path):
    with PartDraft(tmp_path / "0.npz", 1, "") as draft:
        draft.add(READINGS[1])
        draft.finish(16)
    part = read_part(tmp_path / "0.npz", 1)
    assert (part.digests, part.thumbnails(), part.vectors().shape) == ((), [], (0, 16))
    assert list(part.display_copies()) == []


def test_the_same_entries_make_the_same_bytes(path, tmp_path):
    before = path.read_bytes()
    path.unlink()
    write_part(path, np.concatenate([unit_rows(1), unit_rows(1, seed=1)]))
    assert path.read_bytes() == before


def test_a_draft_that_is_given_up_leaves_no_part_and_is_begun_anew(path):
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(KeyError), PartDraft(path, 5, "images-1") as draft:
        draft.add(READINGS[0])
        raise KeyError
    assert read_part(path, 5) is None
    write_part(path, unit_rows(1), unit_rows(1, seed=1))
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_every_shortened_part_and_one_of_another_size_is_none(path):
    whole = path.read_bytes()
    assert read_part(path, 3) is None
    assert read_part(path.with_name("1.npz"), 5) is None
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        assert read_part(path, 5) is None


@pytest.mark.parametrize(
    ("member", "read"),
    [
        (unit_rows(1).tobytes(), Part.vectors),
        (b"large one", lambda part: list(part.display_copies())),
    ],
)
def test_a_changed_byte_is_noticed_when_its_member_is_read(path, member, read):
    content = bytearray(path.read_bytes())
    content[content.index(member) + 5] ^= 1
    path.write_bytes(content)
    part = read_part(path, 5)
    with pytest.raises(GalleryIndexError, match=r"is damaged .* delete it and build again"):
        read(part)


def test_a_changed_byte_anywhere_is_noticed_or_changes_nothing(path):
    def read():
        part = read_part(path, 5)
        if part is None:
            return None
        return part.vectors().tobytes(), part.thumbnails(), list(part.display_copies())

    whole, expected = path.read_bytes(), read()
    for place in range(0, len(whole), 7):  # in turn every byte of a number of eight
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 129]) + whole[place + 1 :])
        with contextlib.suppress(GalleryIndexError):
            assert read() in (None, expected)


def test_display_copies_of_a_part_are_never_in_memory_together(tmp_path):
    def write_and_read(count):
        tracemalloc.start()
        with PartDraft(tmp_path / "0.npz", count, "") as draft:
            for number in range(count):
                digest = number.to_bytes(32, "big")
                draft.add(Reading(digest, is_known=True, display_copy=bytes([number]) * 100_000))
            part = draft.finish(16)
        sizes = [len(copy) for _, copy in part.display_copies()]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert sizes == [100_000] * count
        return peak

    write_and_read(5)  # pays for what is loaded once
    assert write_and_read(100) - write_and_read(5) < 10 * 100_000


@pytest.mark.parametrize("count", [1, 4, 5, 8, 9])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_parts_are_cut_at_fixed_places_and_cover_everything(count, size):
    ranges = list(part_ranges(count, size))
    assert [place for start, stop in ranges for place in range(start, stop)] == list(range(count))
    assert all(start % size == 0 for start, _ in ranges)
    # Growing the listing leaves every full part where it was.
    full = [ends for ends in ranges if ends[1] - ends[0] == size]
    assert full == list(part_ranges(count + 50, size))[: len(full)]
