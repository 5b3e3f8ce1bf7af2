"""Parts are made, in order, from what stands already and from what has to be encoded.

A content is encoded where it first appears; a part after it relies on that. So when a part is made
anew because a file changed, and no longer holds a content that a later part relies on, the later
part is made anew too.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.encoding.contents import Contents
from index_builder.encoding.encodings import Encoding
from index_builder.encoding.known_gallery import KnownGallery
from index_builder.encoding.parts import Part, PartDraft, State, part_ranges, read_part
from index_builder.encoding.reading import Reading
from index_builder.encoding.work import WorkFolder
from index_builder.listing.listed_source import ListedEntry, Listing
from index_builder.listing.rejections import RejectionCount
from index_builder.sources.entries import Rejection
from index_builder.sources.stamps import SourceWatch
from index_builder.vector_index import Rows
from model.console import progress, say
from model.errors import GalleryIndexError

__all__ = ["PartMaker", "digests_of_items", "rejections_of"]


@dataclass(frozen=True)
class _Range:
    """Where a part lies in the listing."""

    number: int
    start: int
    stop: int


class PartMaker:
    """Makes the parts of one gallery in one work folder.

    Args:
        work: Where the parts lie.
        listing: What the source named.
        encoding: How entries become vectors.
        encoder_name: For messages.
        dim: Size of a vector.
        base: A gallery whose contents are used again.
        watch: Notices that the source went away.
    """

    def __init__(
        self,
        work: WorkFolder,
        listing: Listing,
        encoding: Encoding,
        *,
        encoder_name: str,
        dim: int,
        base: KnownGallery | None,
        watch: SourceWatch,
    ) -> None:
        self._work = work
        self._listing = listing
        self._encoding = encoding
        self._encoder_name = encoder_name
        self._dim = dim
        self._base = base
        self._watch = watch
        ranges = part_ranges(listing.count, work.request.part_size)
        self._ranges = [_Range(number, *ends) for number, ends in enumerate(ranges)]

    def make(self, rejected: RejectionCount) -> Contents:
        """Make every part that does not stand, and return the contents of all of them.

        Raises:
            DataError: The source went away, or too many entries are set aside.
            GalleryIndexError: The encoder gave no unit vectors.
        """
        while True:
            standing = self._standing()
            contents = Contents(self._work.path / ".contents.sqlite")
            rejected.reset()
            try:
                dangling = self._make_missing(standing, contents, rejected)
            except BaseException:
                contents.close()
                raise
            if not dangling:
                return contents
            contents.close()
            for part in dangling:
                part.path.unlink()

    def parts(self) -> Iterator[tuple[list[ListedEntry], Part]]:
        """Yield every finished part, in order, with its entries."""
        for place in self._ranges:
            yield self._entries(place), self._read(place)

    def _standing(self) -> npt.NDArray[np.bool_]:
        """Return for each part whether it is there and its files are as they were."""
        standing = np.zeros(len(self._ranges), dtype=np.bool_)
        for place in self._ranges:
            part = read_part(self._work.part_path(place.number), place.stop - place.start)
            if part is not None:
                standing[place.number] = self._is_standing(part, self._entries(place))
        kind = self._work.request.kind
        if standing.any() and not standing.all():
            say(f"{kind}: going on, {standing.sum():,} of {len(standing):,} parts are there")
        return standing

    def _is_standing(self, part: Part, entries: list[ListedEntry]) -> bool:
        if State.KNOWN in part.rows["state"] and (
            self._base is None or self._base.name != part.base
        ):
            return False
        stamps = [self._encoding.stamp(entry) for entry in entries]
        return bool((part.rows["stamp"] == np.array(stamps, dtype=np.int64)).all())

    def _make_missing(
        self, standing: npt.NDArray[np.bool_], contents: Contents, rejected: RejectionCount
    ) -> list[Part]:
        """Make what does not stand; return the parts that rely on contents that are gone."""
        missing = [place for place in self._ranges if not standing[place.number]]
        entries = itertools.chain.from_iterable(self._entries(place) for place in missing)
        readings = self._encoding.readings(entries)
        dangling = []
        total = sum(place.stop - place.start for place in missing)
        kind = self._work.request.kind
        try:
            with progress(f"indexing {kind}", total, kind) as bar:
                for place in self._ranges:
                    if standing[place.number]:
                        part = self._read(place)
                        if not self._resolves(part, contents):
                            dangling.append(part)
                    else:
                        part = self._make(place, readings, contents)
                        bar.advance(len(part.rows))
                    rejected.add(self._rejections(place, part))
                    contents.add(digests_of_items(part))
        finally:
            readings.close()
        return dangling

    def _make(self, place: _Range, readings: Iterator[Reading], contents: Contents) -> Part:
        """Make one part of the next readings."""
        count = place.stop - place.start
        path = self._work.part_path(place.number)
        with PartDraft(path, count, self._base.name if self._base else "") as draft:
            waiting: list[Any] = []
            own: set[bytes] = set()
            for reading in itertools.islice(readings, count):
                if reading.content is None:
                    self._watch.check(reading.stamp)
                draft.add(reading)
                digest = reading.content
                if digest is None or reading.reason is not None or reading.is_known:
                    continue
                if digest in own or digest in contents:
                    continue
                own.add(digest)
                draft.add_content(digest, reading.thumbnail)
                waiting.append(reading.payload)
                if len(waiting) == self._encoding.batch_size:
                    draft.add_vectors(self._encode(waiting))
                    waiting = []
            if waiting:
                draft.add_vectors(self._encode(waiting))
            return draft.finish(self._dim)

    def _encode(self, payloads: list[Any]) -> Rows:
        vectors = self._encoding.encode(payloads)
        if vectors.shape != (len(payloads), self._dim):
            raise GalleryIndexError(
                f"{self._encoder_name} gave vectors of shape {vectors.shape} but says it is "
                f"{self._dim}-d; check the checkpoint"
            )
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.allclose(lengths, 1.0, atol=1e-3):  # also false for NaN
            raise GalleryIndexError(
                f"{self._encoder_name} gave a vector of length "
                f"{lengths[np.argmax(np.abs(lengths - 1))]:.3g} instead of 1; check the checkpoint"
            )
        return vectors

    def _resolves(self, part: Part, contents: Contents) -> bool:
        """Return whether every content of a part has a vector in it or in one before it."""
        own = set(part.digests)
        is_encoded = part.rows["state"] == State.ENCODED
        return all(
            digest in own or digest in contents
            for digest, needed in zip(part.row_digests(), is_encoded, strict=True)
            if needed
        )

    def _rejections(self, place: _Range, part: Part) -> Iterator[Rejection]:
        return rejections_of(part, self._entries(place)) if part.reasons else iter(())

    def _entries(self, place: _Range) -> list[ListedEntry]:
        return self._listing.entries(place.start, place.stop)

    def _read(self, place: _Range) -> Part:
        path = self._work.part_path(place.number)
        part = read_part(path, place.stop - place.start)
        if part is None:
            raise GalleryIndexError(f"{path} went away; build again: the other parts are kept")
        return part


def digests_of_items(part: Part) -> list[bytes]:
    """Return the digest of every entry that becomes an item, in order."""
    is_item = part.rows["state"] != State.SET_ASIDE
    return [digest.tobytes() for digest in part.rows["digest"][is_item]]


def rejections_of(part: Part, entries: Sequence[ListedEntry]) -> Iterator[Rejection]:
    """Yield what a part set aside, in order."""
    for place, reason in part.reasons.items():
        entry = entries[place]
        yield Rejection(entry.path or entry.id, reason.code, reason.sentence)
