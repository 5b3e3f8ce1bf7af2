"""Remove items from an index: they are found no more from the next version on.

Their rows get tombstones, and everything else stays where it is on the disk; when more than a fifth
of a gallery's rows have one, it is written anew without them.
"""

import functools
import hashlib
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind, gallery_name
from index_builder.index_folder.publishing import publish_galleries
from index_builder.index_folder.versions import IndexFolder, OpenIndex
from index_builder.sources.columns import meant_paths, told_meaning
from index_builder.writing.addition import ChangeCount
from index_builder.writing.change_draft import ChangeDraft
from index_builder.writing.changes import (
    ChangeReport,
    GalleryChange,
    changed_gallery,
    gallery_change,
)
from index_builder.writing.tuning_queries import VectorSource, tuning_queries
from model.console import say
from model.errors import ConfigError, GalleryIndexError

__all__ = ["remove_items"]

_SHOWN_IDS = 10
# A name with more commas is not put together again.
_MOST_PIECES = 6


def remove_items(
    path: Path,
    *,
    images: Sequence[str] = (),
    image_pieces: Sequence[str] = (),
    captions: Sequence[str] = (),
    with_captions: bool = False,
    ignore_missing: bool = False,
) -> ChangeReport:
    """Remove items by their ids and serve the result.

    Args:
        path: The index folder.
        images: Ids of images; what is none may be a path, and then all pictures of that path go.
        image_pieces: The same, from a text that was cut at its commas; a name may have some.
        captions: Ids of captions.
        with_captions: Also remove the captions that name one of these images.
        ignore_missing: Pass over ids that there are not, instead of refusing all.

    Raises:
        ConfigError: No id is given.
        GalleryIndexError: There is no index, no such item, or nothing would be left of a gallery.
    """
    if not images and not image_pieces and not captions:
        raise ConfigError(["images, captions: give at least one id"])
    folder = IndexFolder(path)
    folder.record()  # an index that is not there must not be made
    with folder.writing() as index, ExitStack() as opened:
        served = index.open()
        opened.callback(served.close)
        images = _ids_of_pictures(served.images, [*_uncut(served.images, image_pieces), *images])
        if_cut = "; names with commas go into --images-file" if len(image_pieces) > 1 else ""
        unwanted: dict[GalleryKind, list[str]] = {
            "images": _known_ids(served, "images", images, ignore_missing, if_cut),
            "captions": _known_ids(served, "captions", captions, ignore_missing),
        }
        if with_captions and served.captions is not None:
            # Also of images that were removed before.
            named = served.captions.item_store.ids_naming(images)
            unwanted["captions"] = sorted({*unwanted["captions"], *named})
        orphaned_count = _count_naming(served.captions, unwanted["images"], unwanted["captions"])
        for kind, ids in unwanted.items():
            _check_something_left(served, kind, ids)
        now_images, image_count = _without(served.images, unwanted["images"], other=served.captions)
        now_captions, caption_count = _without(
            served.captions, unwanted["captions"], other=now_images
        )
        for gallery in (now_images, now_captions):
            if gallery is not None:
                opened.callback(gallery.close)
        root = served.record.images_root
        version = publish_galleries(
            index,
            checkpoint=served.record.checkpoint,
            images=now_images,
            captions=now_captions,
            images_root=Path(root) if root else None,
        )
        return ChangeReport(
            version=version,
            is_new_version=version != served.version,
            images=_told(now_images, image_count),
            captions=_told(now_captions, caption_count),
            orphaned_caption_count=orphaned_count,
        )


def _uncut(gallery: Gallery | None, pieces: Sequence[str]) -> list[str]:
    """Return names as they were before they were cut at commas: the longest that there are."""
    if gallery is None or len(pieces) < 2:
        return list(pieces)
    stops = [min(start + _MOST_PIECES, len(pieces)) for start in range(len(pieces))]
    names = {
        ",".join(pieces[start:stop])
        for start, last in enumerate(stops)
        for stop in range(start + 1, last + 1)
    }
    paths = {name: PurePosixPath(name).as_posix() for name in names}
    found = {path for path, _ in gallery.item_store.pictures_of_paths(list({*paths.values()}))}
    known = {*gallery.rows_of_ids(list(names)), *(name for name in names if paths[name] in found)}
    uncut, start = [], 0
    while start < len(pieces):
        stop = stops[start]
        while stop > start + 1 and ",".join(pieces[start:stop]) not in known:
            stop -= 1
        name = ",".join(pieces[start:stop])
        uncut.append(name if name in known else name.strip())
        start = stop
    return uncut


def _ids_of_pictures(gallery: Gallery | None, given: Sequence[str]) -> list[str]:
    """Return the ids of pictures that are given by id or else by path; others as they are."""
    if gallery is None:
        return list(given)
    known = gallery.rows_of_ids(given)
    paths = {each: PurePosixPath(each).as_posix() for each in given if each not in known}
    at_path: dict[str, list[str]] = {}
    for path, item_id in gallery.item_store.pictures_of_paths(list(set(paths.values()))):
        at_path.setdefault(path, []).append(item_id)
    return [item_id for each in given for item_id in at_path.get(paths.get(each, ""), [each])]


def _known_ids(
    served: OpenIndex,
    kind: GalleryKind,
    ids: Sequence[str],
    ignore_missing: bool,
    if_missing: str = "",
) -> list[str]:
    """Return the ids that there are, each once, sorted; `if_missing` ends what is told else."""
    gallery = served.gallery(kind)
    if gallery is None:
        if ids and not ignore_missing:
            raise GalleryIndexError(f"{served.folder} has no {kind}; nothing was removed")
        return []
    known = gallery.rows_of_ids(ids)
    missing = [item_id for item_id in dict.fromkeys(ids) if item_id not in known]
    if missing and not ignore_missing:
        shown = ", ".join(missing[:_SHOWN_IDS]) + (", ..." if len(missing) > _SHOWN_IDS else "")
        raise GalleryIndexError(
            f"{len(missing):,} of {len(set(ids)):,} {kind} are not in {served.folder}: {shown}; "
            f"nothing was removed; {_what_to_give(served, kind, missing)}, or give --ignore-missing"
            f"{if_missing}"
        )
    return sorted(known)


def _what_to_give(served: OpenIndex, kind: GalleryKind, missing: Sequence[str]) -> str:
    """Return what would name items of a kind, with the path that one of the missing means."""
    if kind == "captions" or served.images is None:
        return "correct the ids"
    meant = {path: each for each in missing for path in meant_paths(each)}
    for path in served.images.ids_of_paths(list(meant)):
        return f"correct the ids and paths (one is there {told_meaning(meant[path], path)})"
    root = served.record.images_root
    return (
        f"correct the ids and paths (paths are relative to {root})" if root else "correct the ids"
    )


def _count_naming(captions: Gallery | None, images: Sequence[str], unwanted: Sequence[str]) -> int:
    """Return how many captions that stay name one of these images."""
    if captions is None or not images:
        return 0
    return len({*captions.item_store.ids_naming(images)}.difference(unwanted))


def _check_something_left(served: OpenIndex, kind: GalleryKind, ids: Sequence[str]) -> None:
    gallery = served.gallery(kind)
    if gallery is not None and len(ids) == gallery.count:
        raise GalleryIndexError(
            f"no item of the {kind} would be left, and a gallery holds at least one; nothing was "
            "removed: build an index without them instead"
        )


def _without(
    gallery: Gallery | None, ids: Sequence[str], *, other: VectorSource | None
) -> tuple[Gallery | None, ChangeCount]:
    """Return a gallery without some items, itself if there are none, and what that changed."""
    if gallery is None or not ids:
        return gallery, ChangeCount()
    rows = sorted(gallery.rows_of_ids(ids).values())
    fact = json.dumps(["removed from", gallery.folder.name, rows])
    name = gallery_name(gallery.kind, hashlib.sha256(fact.encode()).hexdigest())
    say(f"{gallery.kind}: removing {len(rows):,} of {gallery.count:,}; writing {name}")
    write = functools.partial(_write, gallery, rows, other)
    changed, is_compacted = changed_gallery(
        gallery.folder.parent, gallery, name, write, other=other
    )
    return changed, ChangeCount(removed=len(rows), is_compacted=is_compacted)


def _write(
    gallery: Gallery,
    rows: Sequence[int],
    other: VectorSource | None,
    draft_folder: Path,
    folder: Path,
) -> Path:
    with ChangeDraft(draft_folder, gallery) as draft:
        draft.remove(rows)
        return draft.finish(folder, queries=tuning_queries(other, gallery.manifest.index.kind))


def _told(now: Gallery | None, count: ChangeCount) -> GalleryChange | None:
    return None if now is None or not count.removed else gallery_change(now, count)
