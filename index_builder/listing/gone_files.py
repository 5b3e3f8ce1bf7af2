"""Pictures of an index whose files are gone: an addition keeps them and says which."""

import errno
import heapq
from dataclasses import dataclass
from pathlib import PurePosixPath

from index_builder.galleries.gallery import Gallery
from index_builder.listing.listed_source import Listing
from index_builder.sources import ImageSource
from index_builder.sources.folder_tree import FolderTree
from index_builder.sources.region_array import RegionSource
from index_builder.sources.stamps import stamp_of
from model.identifiers import image_id_for_path

__all__ = ["NOTHING_GONE", "GoneFiles", "gone_files"]

_ROWS_AT_ONCE = 10_000
_SHOWN_COUNT = 3


@dataclass(frozen=True)
class GoneFiles:
    """Pictures that have no file any more.

    Attributes:
        count: How many there are.
        shown: Paths of the first of them.
    """

    count: int
    shown: tuple[str, ...]


NOTHING_GONE = GoneFiles(0, ())


def gone_files(source: ImageSource | RegionSource, listing: Listing, images: Gallery) -> GoneFiles:
    """Return which pictures of a gallery the source has no file for any more.

    Looked for are those that the source names, and of a folder all that lie below it.

    Args:
        source: What was added; a region array has no files.
        listing: What it names.
        images: The gallery, after the source was added to it.
    """
    if source.root is None:
        return NOTHING_GONE
    places = [each.place for each in images.rejected() if each.code == "missing"]
    missing = {*images.ids_of_paths(places)}
    if isinstance(source, FolderTree):
        folder = source.folder.relative_to(source.root).as_posix()
        for start in range(0, images.row_count, _ROWS_AT_ONCE):
            found = images.item_store.sources_of_rows(start, start + _ROWS_AT_ONCE)
            paths = {
                image_id_for_path(each.path): each.path
                for each in found
                if each.path is not None and PurePosixPath(each.path).is_relative_to(folder)
            }
            listed = listing.known_ids(paths)
            missing |= {path for made_id, path in paths.items() if made_id not in listed}
    gone = [path for path in missing if stamp_of(source.root, path) == (-1, errno.ENOENT)]
    return GoneFiles(len(gone), tuple(heapq.nsmallest(_SHOWN_COUNT, gone)))
