"""Which item of a gallery an entry of a source is, where the source gives no ids.

    a picture     the item with its path, whatever its id
    a caption     an item with its text that belongs to the same picture; made ids are of the place
                  in the source, which says nothing about another source

A column that a source lacks changes nothing: an item keeps what it has in each metadata column in
which no entry of the source has a value, and a caption keeps its picture where none names one.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.listing.listed_source import ListedEntry, Listing
from model.identifiers import caption_id, image_id_for_path

__all__ = ["Identification", "image_ids_of"]


class Identification:
    """Finds the items that the entries of one listing are.

    Args:
        listing: Of the source.
        before: The gallery.
        images: Where the id of a picture that a caption names by its path is looked up.
    """

    def __init__(self, listing: Listing, before: Gallery, images: Gallery | None) -> None:
        self._before = before
        self._images = images
        self._metadata_names = listing.metadata_names()
        self._names_pictures = listing.names_pictures()

    def identified(
        self, entries: Sequence[ListedEntry]
    ) -> list[tuple[ListedEntry, Item | None, str | None]]:
        """Return entries with the id they have in the gallery, the item, and its picture's id."""
        is_captions = self._before.kind == "captions"
        named = self._captions(entries) if is_captions else self._pictures(entries)
        items = self._before.items([entry.id for entry in named])
        kept = [self._with_what_is_kept(entry, items.get(entry.id)) for entry in named]
        image_ids = image_ids_of(kept, self._images)
        return [
            (entry, items.get(entry.id), image_id)
            for entry, image_id in zip(kept, image_ids, strict=True)
        ]

    def _pictures(self, entries: Sequence[ListedEntry]) -> list[ListedEntry]:
        paths = [entry.path for entry in entries if entry.path is not None and not entry.has_own_id]
        ids = self._before.ids_of_paths(paths)
        return [
            replace(entry, id=ids[entry.path])
            if not entry.has_own_id and entry.path is not None and entry.path in ids
            else entry
            for entry in entries
        ]

    def _captions(self, entries: Sequence[ListedEntry]) -> list[ListedEntry]:
        nameless = [entry for entry in entries if not entry.has_own_id]
        items: dict[str | None, list[Item]] = {}
        hashes = [_text_hash(entry) for entry in nameless]
        for item in self._before.item_store.items_showing(hashes):
            items.setdefault(item.caption, []).append(item)
        image_ids = image_ids_of(entries, self._images)
        taken = self._before.rows_of_ids([entry.id for entry in nameless])
        return [
            entry
            if entry.has_own_id
            else replace(entry, id=self._caption_id(entry, image_id, items, taken))
            for entry, image_id in zip(entries, image_ids, strict=True)
        ]

    def _caption_id(
        self,
        entry: ListedEntry,
        image_id: str | None,
        items: dict[str | None, list[Item]],
        taken: dict[str, int],
    ) -> str:
        for item in items.get(entry.caption, ()):
            if not self._names_pictures or item.image_id == image_id:
                return item.id
        made, place = entry.id, self._before.row_count + entry.place
        while made in taken:  # by the same text at the same place of another source
            made = caption_id(entry.caption or "", place)
            taken = self._before.rows_of_ids([made])
            place += 1
        return made

    def _with_what_is_kept(self, entry: ListedEntry, item: Item | None) -> ListedEntry:
        if item is None:
            return entry
        kept = {
            name: value for name, value in item.metadata.items() if name not in self._metadata_names
        }
        if kept:
            entry = replace(entry, metadata=kept | entry.metadata)
        if not self._names_pictures:
            entry = replace(entry, image_id=item.image_id)
        return entry


def _text_hash(entry: ListedEntry) -> str:
    return hashlib.sha256((entry.caption or "").encode()).hexdigest()


def image_ids_of(entries: Sequence[ListedEntry], images: Gallery | None) -> list[str | None]:
    """Return the picture that each caption belongs to, looked up where named by its path."""
    paths = sorted({e.image_path for e in entries if e.image_id is None and e.image_path})
    known = images.ids_of_paths(paths) if images is not None and paths else {}
    return [
        known.get(entry.image_path) or image_id_for_path(entry.image_path)
        if entry.image_id is None and entry.image_path is not None
        else entry.image_id
        for entry in entries
    ]
