"""A part: what became of a fixed run of entries, in one file that is there whole or not at all.

Parts are what a killed build leaves. They are cut at fixed places of the listing and batches never
cross them, so a part comes out the same whenever it is made, after whatever was killed.

A file is a `.npz` archive (numpy's own, with a checksum for everything in it, never unpickled).
"""

import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.reading import Reading, Reason
from index_builder.vector_index import Rows
from model.durable import move_file
from model.errors import GalleryIndexError

__all__ = ["DIGEST_BYTES", "PART_SIZE", "Part", "PartDraft", "State", "part_ranges", "read_part"]

PART_SIZE = 1024
DIGEST_BYTES = 32

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


class PartDraft:
    """Collects the entries of a part, and the contents that are encoded for it.

    Args:
        entry_count: How many entries the part has.
        base: Name of the gallery that knows contents; empty if none does.
    """

    def __init__(self, entry_count: int, base: str) -> None:
        self._base = base
        self._rows = np.zeros(entry_count, dtype=_ROW)
        self._place = 0
        self._reasons: dict[int, Reason] = {}
        self._digests: list[bytes] = []
        self._thumbnails: list[bytes] = []
        self._vectors: list[Rows] = []

    def add(self, reading: Reading) -> None:
        """Note the next entry."""
        state = State.KNOWN if reading.is_known else State.ENCODED
        if reading.reason is not None:
            state = State.SET_ASIDE
            self._reasons[self._place] = reading.reason
        digest = np.frombuffer(reading.content or bytes(DIGEST_BYTES), dtype=np.uint8)
        size = (reading.width, reading.height)
        self._rows[self._place] = (state, digest, reading.stamp, size)
        self._place += 1

    def add_content(self, digest: bytes, thumbnail: bytes | None) -> None:
        """Note a content that is to be encoded."""
        self._digests.append(digest)
        if thumbnail is not None:
            self._thumbnails.append(thumbnail)

    def add_vectors(self, vectors: Rows) -> None:
        """Append the vectors of the next contents."""
        self._vectors.append(vectors)

    def write(self, path: Path, dim: int) -> Part:
        """Write the part, flush it to the disk and rename it into place."""
        vectors = np.concatenate([np.empty((0, dim), dtype="<f4"), *self._vectors])
        assert (self._place, len(vectors)) == (len(self._rows), len(self._digests))
        reasons = {place: [r.code, r.sentence] for place, r in self._reasons.items()}
        about = {"base": self._base, "reasons": reasons}
        draft = path.with_name(f".{path.name}.tmp")
        with draft.open("wb") as file:
            np.savez(
                file,
                rows=self._rows,
                digests=np.frombuffer(b"".join(self._digests), dtype=np.uint8),
                vectors=vectors,
                thumbnails=np.frombuffer(b"".join(self._thumbnails), dtype=np.uint8),
                thumbnail_ends=np.cumsum([len(t) for t in self._thumbnails], dtype=np.int64),
                about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
            )
        move_file(draft, path)
        return Part(path, self._rows, self._base, self._reasons, tuple(self._digests))


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


def _split(digests: bytes) -> tuple[bytes, ...]:
    starts: Sequence[int] = range(0, len(digests), DIGEST_BYTES)
    return tuple(digests[start : start + DIGEST_BYTES] for start in starts)


def _member(path: Path, name: str) -> npt.NDArray[Any]:
    """Return one array of a part.

    Raises:
        GalleryIndexError: It cannot be read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            array: npt.NDArray[Any] = archive[name]
            return array
    except FileNotFoundError:
        raise
    # A damaged archive makes zipfile and numpy raise more kinds than their documentation names.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise GalleryIndexError(
            f"{path} is damaged ({error}); delete it and build again: the rest is kept"
        ) from error
