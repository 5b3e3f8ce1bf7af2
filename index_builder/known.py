"""Contents that an earlier gallery of the same checkpoint and precision holds.

They need no encoder: their vectors, sizes, thumbnails and display copies are found by the hash of
the content.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from index_builder.gallery import Gallery
from index_builder.items import Item, ItemStore
from index_builder.sources import ImageEntry
from index_builder.stamps import NO_STAMP, Stamp
from index_builder.thumbnails import ThumbnailStore
from index_builder.vector_index import Rows

__all__ = ["KnownContents", "KnownGallery"]


class KnownContents:
    """Tells whether a content is known; pickles, and so goes to worker processes."""

    def __init__(self, folder: Path) -> None:
        """Name the gallery's folder to look into; its files are opened when first asked."""
        self._folder = folder

    def __reduce__(self) -> tuple[type["KnownContents"], tuple[Path]]:
        """Pickle without the open files."""
        return KnownContents, (self._folder,)

    @cached_property
    def _items(self) -> ItemStore:
        return ItemStore(self._folder / "items.sqlite")

    @cached_property
    def _thumbnails(self) -> ThumbnailStore:
        return ThumbnailStore(self._folder / "thumbnails.sqlite")

    def digest_of(self, entry: ImageEntry, stamp: Stamp) -> bytes | None:
        """Return the content of a picture whose file did not change; None if it may have."""
        if stamp[0] < 0 or stamp == NO_STAMP:
            return None
        content_hash = self._items.content_of_file(entry.path, stamp, entry.span)
        return None if content_hash is None else bytes.fromhex(content_hash)

    def __contains__(self, content_hash: str) -> bool:
        """Return whether there is an item with this content."""
        return bool(self._items.items_of_contents([content_hash]))

    def has_display_copy(self, content_hash: str) -> bool:
        """Return whether there is a display copy of this picture."""
        return self._thumbnails.has_display_copy(content_hash)


class KnownGallery:
    """A gallery whose contents are used again.

    Attributes:
        name: Of its folder.
        contents: Tells what it knows.
    """

    def __init__(self, gallery: Gallery) -> None:
        """Use the contents of an open gallery."""
        self.name = gallery.folder.name
        self.contents = KnownContents(gallery.folder)
        self._gallery = gallery

    def items(self, content_hashes: Sequence[str]) -> dict[str, Item]:
        """Return an item of each content that is known."""
        return self._gallery.items_of_contents(content_hashes)

    def vectors(self, items: Sequence[Item]) -> Rows:
        """Return (item, dim), the stored vectors in float32."""
        return self._gallery.vectors_of_rows(np.array([item.row for item in items], dtype=np.int64))

    def thumbnail(self, content_hash: str) -> bytes | None:
        """Return the JPEG of a content; None for what has none."""
        return self._gallery.thumbnail_of_content(content_hash)

    def display_copy(self, content_hash: str) -> bytes | None:
        """Return the JPEG for display of a content; None for what has none."""
        return self._gallery.display_copy_of_content(content_hash)
