"""Contents that an earlier gallery of the same checkpoint and precision holds.

They need no encoder: their vectors, sizes, thumbnails and display copies are found by the hash of
the content.
"""

from collections.abc import Sequence

import numpy as np

from index_builder.encoding.known_contents import KnownContents
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.vector_index import Rows

__all__ = ["KnownGallery"]


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
        return self._gallery.item_store.items_of_contents(content_hashes)

    def vectors(self, items: Sequence[Item]) -> Rows:
        """Return (item, dim), the stored vectors in float32."""
        return self._gallery.vectors_of_rows(np.array([item.row for item in items], dtype=np.int64))

    def thumbnail(self, content_hash: str) -> bytes | None:
        """Return the JPEG of a content; None for what has none."""
        return self._gallery.thumbnail_of_content(content_hash)

    def display_copy(self, content_hash: str) -> bytes | None:
        """Return the JPEG for display of a content; None for what has none."""
        return self._gallery.display_copy_of_content(content_hash)
