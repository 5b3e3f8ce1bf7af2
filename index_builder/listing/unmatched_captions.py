"""Captions that name no picture of the index: allowed, and mostly a mistake in a path."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from index_builder.galleries.gallery import Gallery
from index_builder.listing.identity import Identification, image_ids_of
from index_builder.listing.listed_source import ListedEntry, Listing
from index_builder.sources.columns import meant_as_path, meant_paths, told_meaning

__all__ = ["UnmatchedCaptions", "unmatched_captions"]

_SHOWN_COUNT = 5
_ENTRIES_AT_ONCE = 10_000
_SAMPLED_ROWS = 50


@dataclass(frozen=True)
class UnmatchedCaptions:
    """Those captions of a source that name no picture of the index.

    Attributes:
        count: How many there are.
        caption_count: All captions of the source.
        shown: Place and name of the first of them.
        is_cut: There are more places.
        hint: What would make some of them fit; empty where nobody knows.
    """

    count: int
    caption_count: int
    shown: tuple[str, ...]
    is_cut: bool
    hint: str


def unmatched_captions(
    listing: Listing, images: Gallery, before: Gallery | None = None
) -> UnmatchedCaptions | None:
    """Return the captions of a source that name no picture of `images`; None if there are none.

    A caption that names a picture which was set aside is not one of them, nor is one of a source
    that cannot name pictures, such as a `.txt`.

    Args:
        listing: The captions of the source.
        images: The pictures.
        before: The captions that the source is added to: those that are there may keep the picture
            that they have.
    """
    found = _Found(images)
    identification = None if before is None else Identification(listing, before, images)
    for start in range(0, listing.count, _ENTRIES_AT_ONCE):
        entries = listing.entries(start, start + _ENTRIES_AT_ONCE)
        if identification is not None:
            entries = [entry for entry, _, _ in identification.identified(entries)]
        found.look_at(entries)
    if not found.count:
        return None
    shown = tuple(found.shown[:_SHOWN_COUNT])
    is_cut = len(found.shown) > _SHOWN_COUNT
    return UnmatchedCaptions(found.count, listing.count, shown, is_cut, found.hint())


class _Found:
    """Counts unmatched captions and keeps the first of them, one more than are shown.

    Args:
        images: The pictures.
    """

    def __init__(self, images: Gallery) -> None:
        self._images = images
        self.count = 0
        self.shown: list[str] = []
        self._fitting: tuple[str, str] | None = None
        self._fitting_count = 0
        self._meant = ""
        self._folders: tuple[str, ...] | None = None

    def look_at(self, entries: list[ListedEntry]) -> None:
        """Count those of some captions that name no picture."""
        image_ids = image_ids_of(entries, self._images)
        known = self._images.rows_of_ids([each for each in image_ids if each is not None])
        astray = [
            entry
            for entry, image_id in zip(entries, image_ids, strict=True)
            if image_id not in known and (image_id is not None or entry.origin)
        ]
        paths = [entry.image_path for entry in astray if entry.image_path is not None]
        set_aside = {each.place for each in self._images.item_store.rejected_of(paths)}
        astray = [entry for entry in astray if entry.image_path not in set_aside]
        self.count += len(astray)
        self._look_for_hints(astray)
        for entry in astray:
            # The captions of a picture may stand in one place.
            if len(self.shown) <= _SHOWN_COUNT and (shown := _shown(entry)) not in self.shown:
                self.shown.append(shown)

    def hint(self) -> str:
        """Return what would make some of them fit."""
        hints = []
        if self._fitting:
            written, fits = self._fitting
            hints.append(f"{self._fitting_count:,} would {told_meaning(written, fits)}")
        if self._meant:
            hints.append(f"`{self._meant}` names no picture: call the column `image`")
        return "; ".join(hints)

    def _look_for_hints(self, astray: list[ListedEntry]) -> None:
        by_path = [entry for entry in astray if entry.image_id is None]
        fitting = self._fitting_paths({entry.image_path for entry in by_path if entry.image_path})
        for entry in by_path:
            written = entry.image_path
            if written in fitting:
                self._fitting_count += 1
                self._fitting = self._fitting or (written, fitting[written])
            if not self._meant and written is None:
                self._meant = meant_as_path(entry.metadata)

    def _fitting_paths(self, written: set[str]) -> dict[str, str]:
        """Return what some paths that lead nowhere would have to be, where that can be told."""
        if not written:
            return {}
        folders = _folders_of(self._images) if self._folders is None else self._folders
        below = {path: [f"{folder}/{path}" for folder in folders] for path in written}
        meant = {path: meant_paths(path) for path in written}
        known = self._images.ids_of_paths(
            list({path for paths in (*meant.values(), *below.values()) for path in paths})
        )
        fitting = {}
        in_front: set[str] = set()
        for path in written:
            in_folders = [one for one in below[path] if one in known]
            in_front.update(one.removesuffix(f"/{path}") for one in in_folders)
            if fits := next((one for one in meant[path] if one in known), None):
                fitting[path] = fits
            elif len(in_folders) == 1:  # in two folders it may be either
                fitting[path] = in_folders[0]
        # A folder that never helps would cost a look for every caption.
        self._folders = tuple(sorted(in_front))
        return fitting


def _folders_of(images: Gallery) -> tuple[str, ...]:
    """Return folders that pictures of the index lie in, as seen from its root."""
    rows = images.rows()
    some = np.linspace(0, len(rows) - 1, num=min(len(rows), _SAMPLED_ROWS), dtype=np.int64)
    found = images.items_at(rows[some].tolist()).values()
    paths = [PurePosixPath(item.path) for item in found if item.path is not None]
    folders = {str(folder) for path in paths for folder in path.parents} - {"."}
    return tuple(sorted(folders)[:_SAMPLED_ROWS])


def _shown(entry: ListedEntry) -> str:
    if entry.image_id is not None:
        name = f"image_id {entry.image_id!r}"
    else:
        name = "(no `image`)" if entry.image_path is None else repr(entry.image_path)
    return f"{entry.origin} {name}".strip()
