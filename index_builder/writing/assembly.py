"""From finished parts to a gallery, one part in memory at a time.

A gallery is named by the hash of everything it is made of: the checkpoint, and for every entry its
id, its content, its place in a shard and its metadata. The same inputs lead to the same name.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index_builder.encoding.contents import Contents
from index_builder.encoding.known_gallery import KnownGallery
from index_builder.encoding.part_making import PartMaker, digests_of_items, rejections_of
from index_builder.encoding.parts import Part, State
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import GalleryKind, IndexKind, gallery_name
from index_builder.listing.identity import image_ids_of
from index_builder.listing.listed_source import ListedEntry, Listing
from index_builder.vector_index import IndexRequest, Rows, TuningQueries
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model.errors import GalleryIndexError

__all__ = ["Assembly", "Step"]


@dataclass(frozen=True, eq=False)
class Step:
    """A part as it is put behind those before it.

    Attributes:
        entries: Of the part.
        part: The part.
        numbers: (item,), the content of each item.
        new: Digests of the contents that no part before it has, in order.
        first_new: Number of the first of them.
        first_row: Row of the first item, where rows are counted from the first part on.
    """

    entries: list[ListedEntry]
    part: Part
    numbers: npt.NDArray[np.int64]
    new: list[bytes]
    first_new: int
    first_row: int


class Assembly:
    """Puts the parts of one gallery together.

    Args:
        kind: Images or captions.
        listing: What the source named.
        parts: Made already.
        contents: Of all parts.
        base: The gallery that knows contents of them.
    """

    def __init__(
        self,
        kind: GalleryKind,
        listing: Listing,
        parts: PartMaker,
        contents: Contents,
        *,
        base: KnownGallery | None,
    ) -> None:
        self._kind: GalleryKind = kind
        self._listing = listing
        self._parts = parts
        self._contents = contents
        self._base = base

    def name(self, made_by: Sequence[object], images: Gallery | None = None) -> str:
        """Return the gallery's name.

        Args:
            made_by: What else decides what is in it, besides the entries.
            images: Where the id of a picture that a caption names by its path is looked up.
        """
        digest = hashlib.sha256()

        def note(fact: object) -> None:
            digest.update(json.dumps(fact, sort_keys=True).encode() + b"\n")

        note([self._kind, *made_by])
        for rejection in self._listing.rejected():
            note([rejection.place, rejection.code])
        for entries, part in self._parts.parts():
            image_ids = image_ids_of(entries, images)
            for place, (entry, content) in enumerate(zip(entries, part.row_digests(), strict=True)):
                reason = part.reasons.get(place)
                note(
                    [
                        entry.id, entry.path, content.hex(), image_ids[place], entry.metadata,
                        None if reason is None else reason.code, entry.span,
                    ]
                )  # fmt: skip
        return gallery_name(self._kind, digest.hexdigest())

    def write(
        self,
        draft_folder: Path,
        folder: Path,
        encoder: EncoderRecord,
        *,
        images: Gallery | None = None,
        index_kind: IndexKind = "exact",
        index: IndexRequest | None = None,
        queries: TuningQueries | None = None,
    ) -> None:
        """Write the gallery to `folder`; until it is whole it lies in `draft_folder`.

        Args:
            draft_folder: To be made.
            folder: `<kind>-<hash>`.
            encoder: What made the vectors.
            images: As for `name`.
            index_kind: Of the vector index.
            index: What else is asked of it.
            queries: What it is tuned and measured with; None takes points between rows.

        Raises:
            ConfigError: The vector index cannot be built.
            GalleryIndexError: A part, or the gallery that it relies on, cannot be read.
        """
        with GalleryDraft(draft_folder, self._kind, encoder) as draft:
            draft.add_rejections(self._listing.rejected())
            for step in self.steps():
                if step.new:
                    draft.add_contents(self.new_vectors(step), self.new_thumbnails(step))
                draft.add_display_copies(self.display_copies(step))
                draft.add_items(self.items(step, images), step.numbers)
                draft.add_rejections(rejections_of(step.part, step.entries))
            draft.finish(folder, index_kind=index_kind, index=index, queries=queries)

    def sample_vectors(self, wanted_count: int) -> Rows:
        """Return (content, dim), vectors drawn without replacement; the same at every call."""
        count = self._contents.count
        wanted = np.arange(count)
        if wanted_count < count:
            drawn = np.random.default_rng(0).choice(count, wanted_count, replace=False)
            wanted = np.sort(drawn)
        found: list[Rows] = []
        for step in self.steps():
            ends = [step.first_new, step.first_new + len(step.new)]
            first, last = np.searchsorted(wanted, ends)
            if first < last:
                chosen = [step.new[number - step.first_new] for number in wanted[first:last]]
                found.append(self._vectors_of(chosen, step.part))
        return np.concatenate(found)

    def steps(self) -> Iterator[Step]:
        """Yield every part with the contents that first appear in it."""
        first_new = first_row = 0
        for entries, part in self._parts.parts():
            digests = digests_of_items(part)
            numbers = self._contents.numbers(digests)
            # Numbers count up in order of appearance: from here on they are new ones.
            found, places = np.unique(numbers, return_index=True)
            new = [digests[place] for place in places[found >= first_new]]
            yield Step(entries, part, numbers, new, first_new, first_row)
            first_new += len(new)
            first_row += len(digests)

    def new_vectors(self, step: Step) -> Rows:
        """Return (content, dim) of the contents that first appear in a part."""
        return self._vectors_of(step.new, step.part)

    def _vectors_of(self, digests: Sequence[bytes], part: Part) -> Rows:
        """Return (content, dim) of contents of a part: from it, or from the base."""
        own = {digest: place for place, digest in enumerate(part.digests)}
        vectors = part.vectors()
        rows = {d.hex(): vectors[own[d]] for d in digests if d in own}
        known = self._known_items([d.hex() for d in digests if d not in own])
        if known and self._base is not None:
            rows |= zip(known, self._base.vectors(list(known.values())), strict=True)
        if missing := [digest for digest in digests if digest.hex() not in rows]:
            raise _gone(part, missing[0])
        return np.stack([rows[digest.hex()] for digest in digests])

    def new_thumbnails(self, step: Step) -> Iterator[tuple[str, bytes | None]]:
        """Yield the hash and the thumbnail of the contents that first appear in a part."""
        own = {digest: place for place, digest in enumerate(step.part.digests)}
        thumbnails = step.part.thumbnails()
        for digest in step.new:
            content_hash = digest.hex()
            if digest not in own and self._base is not None:
                yield content_hash, self._base.thumbnail(content_hash)
            else:
                yield content_hash, thumbnails[own[digest]] if thumbnails else None

    def display_copies(self, step: Step) -> Iterator[tuple[str, bytes]]:
        """Yield the hash and the display copy of what a part shows of shards, each once."""
        is_used = step.part.rows["state"] != State.SET_ASIDE
        shown = zip(step.entries, step.part.row_digests(), is_used, strict=True)
        wanted = dict.fromkeys(
            digest for entry, digest, used in shown if used and entry.span is not None
        )
        if not wanted:
            return
        # The part's own are read as a stream: they come in the order of its entries.
        own = step.part.display_copies()
        next_own = next(own, None)
        for digest in wanted:
            copy: bytes | None = None
            if next_own is not None and next_own[0] == digest:
                _, copy = next_own
                next_own = next(own, None)
            elif self._base is not None:
                copy = self._base.display_copy(digest.hex())
            if copy is None:
                raise _gone(step.part, digest)
            yield digest.hex(), copy

    def items(self, step: Step, images: Gallery | None) -> Iterator[Item]:
        """Yield the items of a part, in order.

        Args:
            step: The part.
            images: Where the id of a picture that a caption names by its path is looked up.
        """
        entries, part = step.entries, step.part
        image_ids = image_ids_of(entries, images)
        is_known = part.rows["state"] == State.KNOWN
        contents = part.row_digests()
        known = self._known_items([contents[place].hex() for place in np.flatnonzero(is_known)])
        row = step.first_row
        for place, entry in enumerate(entries):
            if part.rows["state"][place] == State.SET_ASIDE:
                continue
            content_hash = contents[place].hex()
            size = tuple(part.rows["size"][place].tolist())
            if is_known[place]:
                size = (known[content_hash].width or 0, known[content_hash].height or 0)
            has_size = entry.path is not None
            yield Item(
                id=entry.id,
                row=row,
                caption=entry.caption,
                image_id=image_ids[place],
                path=entry.path,
                width=size[0] if has_size else None,
                height=size[1] if has_size else None,
                metadata=entry.metadata,
                content_hash=content_hash,
                stamp=tuple(part.rows["stamp"][place].tolist()),
                span=entry.span,
            )
            row += 1

    def _known_items(self, content_hashes: list[str]) -> dict[str, Item]:
        if self._base is None or not content_hashes:
            return {}
        return self._base.items(content_hashes)


def _gone(part: Part, digest: bytes) -> GalleryIndexError:
    return GalleryIndexError(
        f"{part.path} relies on a content that is gone ({digest.hex()[:16]}); delete it and build "
        "again: the other parts are kept"
    )
