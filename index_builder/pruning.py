"""Remove versions that are no longer needed, and whatever no kept version names.

Records of versions go first and durably, then galleries and checkpoints that none of the others
names. So every version that can still be opened is whole, whatever moment a prune was killed; the
next one removes what is left.

Work that a build began is encoded vectors, perhaps of days: it stays unless it is asked for.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from index_builder.encoding.work import WORK_PREFIX, finished_work, work_folders
from index_builder.index_folder.versions import IndexFolder, remove
from index_builder.index_folder.vouched_files import files_below
from model.durable import sync_folder
from model.errors import GalleryIndexError

__all__ = ["PruneReport", "UnfinishedWork", "prune"]


@dataclass(frozen=True)
class UnfinishedWork:
    """The work of a build that was begun and not finished.

    Attributes:
        name: Below the index folder.
        size_bytes: Of its files.
        age_s: Seconds since it was last written to.
    """

    name: str
    size_bytes: int
    age_s: int


@dataclass(frozen=True)
class PruneReport:
    """What a prune removed, or would remove.

    Attributes:
        served_version: The served version.
        kept_versions: Versions that stay, ascending.
        removed_versions: Versions that go, ascending.
        removed: What else goes: names below the index folder, sorted.
        unfinished: Work that stays, as nobody asked to remove it.
        freed_bytes: Sizes of the files that lose their last name; one that another folder has
            hard-linked takes its space on.
        is_dry_run: Nothing was removed.
    """

    served_version: int
    kept_versions: list[int]
    removed_versions: list[int]
    removed: list[str]
    unfinished: list[UnfinishedWork]
    freed_bytes: int
    is_dry_run: bool


def prune(
    path: Path, *, keep: int = 2, unfinished: bool = False, is_dry_run: bool = False
) -> PruneReport:
    """Keep the served version and the newest others.

    Args:
        path: The index folder.
        keep: Versions to keep, the served one included; at least 1.
        unfinished: Also remove the work of builds that were begun and not finished.
        is_dry_run: Only tell; nothing is written, and no lock is taken.

    Raises:
        GalleryIndexError: There is no index, another process writes it, or the record of a version
            that is to be kept is damaged: nobody could say which galleries it needs.
    """
    index = IndexFolder(path)
    index.current()  # where there is no index, no folder is made
    if is_dry_run:
        return _plan(index, keep, unfinished=unfinished, is_dry_run=True)
    with index.writing(keep_drafts=True):
        report = _plan(index, keep, unfinished=unfinished, is_dry_run=False)
        # Oldest first: those that are left are always the newest.
        for version in report.removed_versions:
            if version > report.served_version:
                index.set_aside(version)
            else:
                index.record_path(version).unlink()
        sync_folder(index.path / "versions")
        # In this order a draft's name is free before a gallery takes it.
        for name in report.removed:
            _remove(index.path / name)
        for folder in (index.galleries, index.checkpoints):
            sync_folder(folder)
    return report


def _plan(index: IndexFolder, keep: int, *, unfinished: bool, is_dry_run: bool) -> PruneReport:
    served = index.current()
    abandoned = index.never_served()
    versions = [version for version in index.versions() if version != abandoned]
    others = [version for version in versions if version != served]
    kept = sorted([served, *others[len(others) - min(keep - 1, len(others)) :]])
    gone = sorted(set(index.versions()) - set(kept))
    needed = {name for version in kept for name in _named_by(index, version)}
    work = work_folders(index.galleries)
    if unfinished:
        begun = []
    else:
        finished = finished_work(index.galleries, {Path(name).name for name in needed})
        begun = [folder for folder in work if folder not in finished]
    removed = [
        *index.drafts(),
        *index.old_never_served_records(),
        *(folder for folder in work if folder not in begun),
        *_unneeded(index.galleries, needed),
        *_unneeded(index.checkpoints, needed),
    ]
    return PruneReport(
        served_version=served,
        kept_versions=kept,
        removed_versions=gone,
        removed=sorted(place.relative_to(index.path).as_posix() for place in removed),
        unfinished=[_unfinished(index, folder) for folder in begun],
        freed_bytes=_freed_bytes(
            [*removed, *(index.record_path(version) for version in gone if version < served)]
        ),
        is_dry_run=is_dry_run,
    )


def _unfinished(index: IndexFolder, folder: Path) -> UnfinishedWork:
    size, last_written = 0, 0.0
    for file in files_below(folder).values():
        with contextlib.suppress(FileNotFoundError):  # a builder's, while this is a dry run
            status = file.lstat()
            size += status.st_size
            last_written = max(last_written, status.st_mtime)
    return UnfinishedWork(
        name=folder.relative_to(index.path).as_posix(),
        size_bytes=size,
        age_s=max(0, int(time.time() - last_written)),
    )


def _named_by(index: IndexFolder, version: int) -> Iterator[str]:
    try:
        record = index.record(version)
    except GalleryIndexError as error:
        if version == index.current():
            raise
        raise GalleryIndexError(
            f"{index.record_path(version)} is to be kept but damaged, so nobody can say which "
            "galleries it needs; delete it to give that version up, then prune again"
        ) from error
    yield record.checkpoint.folder
    yield from (gallery.folder for gallery in record.galleries)


def _unneeded(folder: Path, needed: set[str]) -> Iterator[Path]:
    for place in folder.glob("*"):
        if not place.name.startswith(".") and f"{folder.name}/{place.name}" not in needed:
            yield place


def _remove(place: Path) -> None:
    """Take a file or a folder away, under a draft's name first.

    Half of a gallery is no gallery, and half of the work of a build is none to go on with.
    """
    is_draft = place.name.startswith(".") and not place.name.startswith(WORK_PREFIX)
    if place.is_dir() and not is_draft:
        leaving = place.with_name(f".removed-{place.name.removeprefix('.')}")
        place.rename(leaving)
        place = leaving
    remove(place)


def _freed_bytes(places: Iterable[Path]) -> int:
    """Return the bytes of all files in these places that have no name elsewhere."""
    removed_names: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], os.stat_result] = {}
    for place in places:
        for file in files_below(place).values() if place.is_dir() else [place]:
            with contextlib.suppress(FileNotFoundError):  # a builder's, while this is a dry run
                status = file.lstat()
                identity = status.st_dev, status.st_ino
                removed_names[identity] += 1
                found[identity] = status
    return sum(
        status.st_size
        for identity, status in found.items()
        if removed_names[identity] >= status.st_nlink
    )
