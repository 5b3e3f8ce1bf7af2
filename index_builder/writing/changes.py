"""What `add` and `remove` report, and what both do at their end."""

import shutil
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from index_builder.galleries.gallery import Gallery
from index_builder.listing.unmatched_captions import UnmatchedCaptions
from index_builder.writing.addition import ChangeCount
from index_builder.writing.compaction import compact, compacted_name, needs_compaction
from index_builder.writing.reuse import find_gallery
from index_builder.writing.tuning_queries import VectorSource, tuning_queries
from model.console import say
from model.durable import move_folder

__all__ = ["ChangeReport", "GalleryChange", "changed_gallery", "gallery_change"]


@dataclass(frozen=True)
class GalleryChange:
    """What became of one gallery.

    Attributes:
        folder: Name of its folder.
        count: Items in it.
        added_count: Items that were not there before.
        changed_count: Items with another content, or something else about them.
        removed_count: Items that are there no more.
        rejected_count: Inputs set aside, all that the gallery knows of.
        is_compacted: It was written anew without the rows of removed items.
    """

    folder: str
    count: int
    added_count: int
    changed_count: int
    removed_count: int
    rejected_count: int
    is_compacted: bool


@dataclass(frozen=True)
class ChangeReport:
    """What is served after a change.

    Attributes:
        version: The served version.
        is_new_version: False where nothing changed.
        images: What became of the images; None if they were not asked about.
        captions: What became of the captions; None if they were not asked about.
        unmatched_captions: Added captions that name no picture of the index, or None.
        gone_file_count: Pictures of the index that the source has no file for any more.
        gone_files: Paths of the first of them.
        orphaned_caption_count: Captions that stay and name a picture that was removed.
        passed_over: Files of a folder of pictures that are none, counted by their endings.
    """

    version: int
    is_new_version: bool
    images: GalleryChange | None
    captions: GalleryChange | None
    unmatched_captions: UnmatchedCaptions | None = None
    gone_file_count: int = 0
    gone_files: tuple[str, ...] = ()
    orphaned_caption_count: int = 0
    passed_over: dict[str, int] = field(default_factory=dict)


def changed_gallery(
    galleries: Path,
    before: Gallery,
    name: str,
    write: Callable[[Path, Path], Path],
    *,
    other: VectorSource | None,
) -> tuple[Gallery, bool]:
    """Return the gallery that a change leads to, there already or new, and if it is compacted.

    Args:
        galleries: The folder for them.
        before: The gallery that is changed.
        name: Of the changed gallery.
        write: Writes it, given a folder for its draft and the folder that it is renamed to.
        other: The other kind: its vectors tune the vector index.
    """
    folders = galleries / name, galleries / compacted_name(before.kind, name)
    for folder in folders:
        found = find_gallery(folder, before.images_root)
        if found is not None:
            return found, folder == folders[1]
    # Nobody's version can name it here, so it may be taken away again.
    staging = galleries / f".changing-{before.kind}"
    staging.mkdir()
    staged = write(staging / "draft", staging / name)
    with closing(Gallery.open(staged)) as changed:
        is_due = needs_compaction(changed)
        folder = folders[is_due]
        if is_due:
            removed_count = changed.row_count - changed.count
            say(f"{changed.kind}: {removed_count:,} rows are of removed items; writing {folder}")
            queries = tuning_queries(other, changed.manifest.index.kind)
            compact(changed, staging / "compacted", folder, queries=queries)
    if not is_due:
        move_folder(staged, folder)
    shutil.rmtree(staging)
    return Gallery.open(folder, images_root=before.images_root), is_due


def gallery_change(gallery: Gallery, count: ChangeCount) -> GalleryChange:
    """Return the report of one gallery."""
    manifest = gallery.manifest
    return GalleryChange(
        folder=manifest.gallery,
        count=manifest.count,
        added_count=count.added,
        changed_count=count.changed,
        removed_count=count.removed,
        rejected_count=manifest.rejected_count,
        is_compacted=count.is_compacted,
    )
