"""What an earlier gallery of the same checkpoint and precision holds, told in any process.

Neither torch nor FAISS is imported here, so that processes that read pictures start quickly.
"""

from functools import cached_property
from pathlib import Path

from index_builder.galleries.items import ItemStore
from index_builder.galleries.thumbnails import ThumbnailStore
from index_builder.sources import ImageEntry
from index_builder.sources.stamps import NO_STAMP, Stamp

__all__ = ["KnownContents"]


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
