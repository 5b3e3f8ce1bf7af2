"""From finished parts to a gallery, one part in memory at a time.

A gallery is named by the hash of everything it is made of: the checkpoint, and for every entry its
id, its content and its metadata. The same inputs lead to the same name.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from index_builder.contents import Contents
from index_builder.draft import EncoderRecord, GalleryDraft
from index_builder.gallery import Gallery
from index_builder.items import Item
from index_builder.known import KnownGallery
from index_builder.listing import ListedEntry, Listing
from index_builder.manifest import GalleryKind
from index_builder.part_making import PartMaker, digests_of_items, rejections_of
from index_builder.parts import Part, State
from index_builder.vector_index import Rows
from model.errors import GalleryIndexError
from model.identifiers import image_id_for_path

__all__ = ["Assembly"]

_NAME_DIGITS = 16


class Assembly:
    """Puts the parts of one gallery together.

    Args:
        kind: Images or captions.
        listing: What the source named.
        parts: Made already.
        contents: Of all parts.
        base: The gallery that knows contents of them.
        images: Where the id of a picture that a caption names by its path is looked up.
    """

    def __init__(
        self,
        kind: GalleryKind,
        listing: Listing,
        parts: PartMaker,
        contents: Contents,
        *,
        base: KnownGallery | None,
        images: Gallery | None,
    ) -> None:
        self._kind: GalleryKind = kind
        self._listing = listing
        self._parts = parts
        self._contents = contents
        self._base = base
        self._images = images

    def name(self, made_by: Sequence[object]) -> str:
        """Return the gallery's name.

        Args:
            made_by: What else decides what is in it, besides the entries.
        """
        digest = hashlib.sha256()

        def note(fact: object) -> None:
            digest.update(json.dumps(fact, sort_keys=True).encode() + b"\n")

        note([self._kind, *made_by])
        for rejection in self._listing.rejected():
            note([rejection.place, rejection.code])
        for entries, part in self._parts.parts():
            image_ids = self._image_ids(entries)
            for place, (entry, content) in enumerate(zip(entries, part.row_digests(), strict=True)):
                reason = part.reasons.get(place)
                note(
                    [
                        entry.id, entry.path, content.hex(), image_ids[place], entry.metadata,
                        None if reason is None else reason.code,
                    ]
                )  # fmt: skip
        return f"{self._kind}-{digest.hexdigest()[:_NAME_DIGITS]}"

    def write(self, draft_folder: Path, folder: Path, encoder: EncoderRecord) -> None:
        """Write the gallery to `folder`; until it is whole it lies in `draft_folder`.

        Raises:
            GalleryIndexError: A part, or the gallery that it relies on, cannot be read.
        """
        with GalleryDraft(draft_folder, self._kind, encoder) as draft:
            draft.add_rejections(self._listing.rejected())
            row = content_count = 0
            for entries, part in self._parts.parts():
                digests = digests_of_items(part)
                numbers = self._contents.numbers(digests)
                # Numbers count up in order of appearance: from here on they are new ones.
                found, places = np.unique(numbers, return_index=True)
                new = [digests[place] for place in places[found >= content_count]]
                self._add_contents(draft, new, part)
                content_count += len(new)
                items = list(self._items(entries, part, row))
                draft.add_items(items, numbers)
                draft.add_rejections(rejections_of(part, entries))
                row += len(items)
            draft.finish(folder)

    def _add_contents(self, draft: GalleryDraft, digests: Sequence[bytes], part: Part) -> None:
        """Append contents that first appear in a part: from it, or from the base."""
        own = {digest: place for place, digest in enumerate(part.digests)}
        vectors, thumbnails = part.vectors(), part.thumbnails()
        known = self._known_items([d.hex() for d in digests if d not in own])
        if known and self._base is not None:
            known_vectors = dict(zip(known, self._base.vectors(list(known.values())), strict=True))
        rows: list[Rows] = []
        pictures: list[tuple[str, bytes | None]] = []
        for digest in digests:
            content_hash = digest.hex()
            if digest in own:
                rows.append(vectors[own[digest]])
                thumbnail = thumbnails[own[digest]] if thumbnails else None
            elif self._base is not None and content_hash in known:
                rows.append(known_vectors[content_hash])
                thumbnail = self._base.thumbnail(content_hash)
            else:
                raise GalleryIndexError(
                    f"{part.path} relies on a content that is gone; delete it and build again: "
                    "the other parts are kept"
                )
            pictures.append((content_hash, thumbnail))
        if rows:
            draft.add_contents(np.stack(rows), pictures)

    def _items(self, entries: Sequence[ListedEntry], part: Part, first_row: int) -> Iterator[Item]:
        image_ids = self._image_ids(entries)
        is_known = part.rows["state"] == State.KNOWN
        contents = part.row_digests()
        known = self._known_items([contents[place].hex() for place in np.flatnonzero(is_known)])
        row = first_row
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
            )
            row += 1

    def _known_items(self, content_hashes: list[str]) -> dict[str, Item]:
        if self._base is None or not content_hashes:
            return {}
        return self._base.items(content_hashes)

    def _image_ids(self, entries: Sequence[ListedEntry]) -> list[str | None]:
        """Return the picture that each caption belongs to, looked up where named by its path."""
        paths = sorted({e.image_path for e in entries if e.image_id is None and e.image_path})
        known = self._images.ids_of_paths(paths) if self._images is not None and paths else {}
        return [
            known.get(entry.image_path) or image_id_for_path(entry.image_path)
            if entry.image_id is None and entry.image_path is not None
            else entry.image_id
            for entry in entries
        ]
