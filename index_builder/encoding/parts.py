"""A part: what became of a fixed run of entries, in one file that is there whole or not at all.

Parts are what a killed build leaves. They are cut at fixed places of the listing and batches never
cross them, so a part comes out the same whenever it is made, after whatever was killed.

A file is a `.npz` archive (numpy's own, with a checksum for everything in it, never unpickled).
Display copies, by far the largest thing in it, are one more member, written and read as a stream:
those of a part are never in memory together.
"""

import contextlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.encoding.reading import Reading, Reason
from index_builder.vector_index import Rows
from model.durable import move_file
from model.errors import GalleryIndexError

__all__ = ["DIGEST_BYTES", "PART_SIZE", "Part", "PartDraft", "State", "part_ranges", "read_part"]

PART_SIZE = 1024
DIGEST_BYTES = 32

_DISPLAY_COPIES = "display_copies"
_ROW = np.dtype(
    [
        ("state", "u1"),
        ("digest", "u1", (DIGEST_BYTES,)),
        ("stamp", "<i8", (2,)),
        ("size", "<i4", (2,)),
    ]
)


class State:
    """What became of an entry."""

    SET_ASIDE = 0
    ENCODED = 1  # its content has a vector, in this part or in one before it
    KNOWN = 2  # its content is in the gallery that the part names as its base


@dataclass(frozen=True, eq=False)
class Part:
    """An open part.

    Attributes:
        path: The file.
        rows: (entry,) of state, digest, stamp and size, in the order of the listing.
        base: Name of the gallery that knows contents of this part; empty if none does.
        reasons: Why entries are set aside, by their place in the part.
        digests: Of the contents that were encoded for this part, in the order of their vectors.
    """

    path: Path
    rows: npt.NDArray[Any]
    base: str
    reasons: dict[int, Reason]
    digests: tuple[bytes, ...]

    def row_digests(self) -> list[bytes]:
        """Return the digest of every entry's content; zeros where nothing could be read."""
        return [digest.tobytes() for digest in self.rows["digest"]]

    def vectors(self) -> Rows:
        """Return (content, dim), the unit vectors of `digests`."""
        return _member(self.path, "vectors")

    def thumbnails(self) -> list[bytes]:
        """Return the JPEG of each of `digests`, or nothing where they are no pictures."""
        content = _member(self.path, "thumbnails").tobytes()
        ends = _member(self.path, "thumbnail_ends").tolist()
        return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def display_copies(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield digest and JPEG of what the part shows of shards, each once, as it first appears.

        What the base holds one of is left out.

        Raises:
            GalleryIndexError: They cannot be read, or are damaged; perhaps told only at the end.
        """
        digests = _split(_member(self.path, "display_digests").tobytes())
        sizes = _member(self.path, "display_sizes").tolist()
        if not digests:
            return
        with (
            _told_as_damaged(self.path),
            zipfile.ZipFile(self.path) as archive,
            archive.open(_DISPLAY_COPIES) as stream,
        ):
            for digest, size in zip(digests, sizes, strict=True):
                yield digest, stream.read(size)


class PartDraft:
    """Collects the entries of a part, and the contents that are encoded for it.

    Use as a context manager: what was not finished is closed, and overwritten by the next draft.

    Args:
        path: Where the part will lie.
        entry_count: How many entries the part has.
        base: Name of the gallery that knows contents; empty if none does.
    """

    def __init__(self, path: Path, entry_count: int, base: str) -> None:
        self._path = path
        self._draft = path.with_name(f".{path.name}.tmp")
        self._archive = zipfile.ZipFile(self._draft, "w")
        # The first member, open until all the entries are there; arrays come after it.
        self._display_copies = self._archive.open(_DISPLAY_COPIES, "w", force_zip64=True)
        self._display_sizes: dict[bytes, int] = {}
        self._base = base
        self._rows = np.zeros(entry_count, dtype=_ROW)
        self._place = 0
        self._reasons: dict[int, Reason] = {}
        self._digests: list[bytes] = []
        self._thumbnails: list[bytes] = []
        self._vectors: list[Rows] = []

    def __enter__(self) -> "PartDraft":
        """Return the draft itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        with self._archive:
            self._display_copies.close()

    def add(self, reading: Reading) -> None:
        """Note the next entry, and write its display copy, if it has one that is new."""
        state = State.KNOWN if reading.is_known else State.ENCODED
        if reading.reason is not None:
            state = State.SET_ASIDE
            self._reasons[self._place] = reading.reason
        digest = np.frombuffer(reading.content or bytes(DIGEST_BYTES), dtype=np.uint8)
        size = (reading.width, reading.height)
        self._rows[self._place] = (state, digest, reading.stamp, size)
        self._place += 1
        copy = reading.display_copy
        if copy is None or reading.content is None or reading.content in self._display_sizes:
            return
        self._display_copies.write(copy)
        self._display_sizes[reading.content] = len(copy)

    def add_content(self, digest: bytes, thumbnail: bytes | None) -> None:
        """Note a content that is to be encoded."""
        self._digests.append(digest)
        if thumbnail is not None:
            self._thumbnails.append(thumbnail)

    def add_vectors(self, vectors: Rows) -> None:
        """Append the vectors of the next contents."""
        self._vectors.append(vectors)

    def finish(self, dim: int) -> Part:
        """Write everything, flush it to the disk and rename it into place."""
        vectors = np.concatenate([np.empty((0, dim), dtype="<f4"), *self._vectors])
        assert (self._place, len(vectors)) == (len(self._rows), len(self._digests))
        reasons = {place: [r.code, r.sentence] for place, r in self._reasons.items()}
        about = {"base": self._base, "reasons": reasons}
        with self._archive:
            self._display_copies.close()
            self._add_array("rows", self._rows)
            self._add_array("digests", _joined(self._digests))
            self._add_array("vectors", vectors)
            self._add_array("thumbnails", _joined(self._thumbnails))
            ends = np.cumsum([len(t) for t in self._thumbnails], dtype=np.int64)
            self._add_array("thumbnail_ends", ends)
            self._add_array("display_digests", _joined(list(self._display_sizes)))
            sizes = np.array(list(self._display_sizes.values()), dtype=np.int64)
            self._add_array("display_sizes", sizes)
            self._add_array("about", _joined([json.dumps(about).encode()]))
        move_file(self._draft, self._path)
        return Part(self._path, self._rows, self._base, self._reasons, tuple(self._digests))

    def _add_array(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write a member as `numpy.savez` does."""
        with self._archive.open(f"{name}.npy", "w", force_zip64=True) as file:
            np.lib.format.write_array(file, array, allow_pickle=False)


def part_ranges(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of every part of `count` entries."""
    return ((start, min(start + size, count)) for start in range(0, count, size))


def read_part(path: Path, entry_count: int) -> Part | None:
    """Return the part in the file at `path`, or None if there is none that can be read."""
    try:
        rows = _member(path, "rows")
        about = json.loads(_member(path, "about").tobytes())
        digests = _split(_member(path, "digests").tobytes())
    except (FileNotFoundError, GalleryIndexError):
        return None
    if rows.dtype != _ROW or rows.shape != (entry_count,):
        return None
    reasons = {int(place): Reason(*reason) for place, reason in about["reasons"].items()}
    return Part(path, rows, about["base"], reasons, digests)


def _joined(contents: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    return np.frombuffer(b"".join(contents), dtype=np.uint8)


def _split(digests: bytes) -> tuple[bytes, ...]:
    starts: Sequence[int] = range(0, len(digests), DIGEST_BYTES)
    return tuple(digests[start : start + DIGEST_BYTES] for start in starts)


def _member(path: Path, name: str) -> npt.NDArray[Any]:
    """Return one array of a part.

    Raises:
        GalleryIndexError: It cannot be read.
    """
    with (
        _told_as_damaged(path),
        path.open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        array: npt.NDArray[Any] = archive[name]
        return array


@contextlib.contextmanager
def _told_as_damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    # A damaged archive makes zipfile and numpy raise more kinds than their documentation names.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        raise GalleryIndexError(
            f"{path} is damaged ({error}); delete it and build again: the rest is kept"
        ) from error
