"""Which entries of a source are new or changed, told without reading a single picture.

A picture is as it was when its path, its place in a shard, its metadata, and the size and time of
change of its file are; a caption when its text, its metadata and its picture are. Region arrays
have no files of their own: their rows are read and compared by content.
"""

from pathlib import Path

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.listing.identity import Identification
from index_builder.listing.listed_source import ListedEntry, Listing
from index_builder.sources.stamps import NO_STAMP, Stamp, stamp_of

__all__ = ["fresh_listing"]


def fresh_listing(
    path: Path,
    listing: Listing,
    before: Gallery,
    *,
    images_root: Path | None,
    images: Gallery | None = None,
) -> Listing:
    """Return the entries that a gallery lacks or has otherwise, listed in a new file at `path`.

    Args:
        path: To be written.
        listing: All entries.
        before: The gallery.
        images_root: What the pictures' paths are relative to; None for captions.
        images: Where the id of a picture that a caption names by its path is looked up.
    """
    identification = Identification(listing, before, images)

    def fresh(entries: list[ListedEntry]) -> list[ListedEntry]:
        return [
            entry
            for entry, item, image_id in identification.identified(entries)
            if not _is_same(entry, image_id, item, _stamp(entry, images_root))
        ]

    return listing.chosen(path, fresh)


def _stamp(entry: ListedEntry, images_root: Path | None) -> Stamp:
    if entry.path is None or images_root is None:
        return NO_STAMP
    return stamp_of(images_root, entry.path)


def _is_same(entry: ListedEntry, image_id: str | None, item: Item | None, stamp: Stamp) -> bool:
    return item is not None and (
        (entry.path, entry.span, entry.caption, image_id, entry.metadata, stamp)
        == (item.path, item.span, item.caption, item.image_id, item.metadata, item.stamp)
    )
