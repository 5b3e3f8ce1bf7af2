"""Serve again what an earlier version named, as a version of its own.

So `current` always names the newest version, and what was rolled back from is still there.
"""

from dataclasses import dataclass
from pathlib import Path

from index_builder.index_folder.checkpoints import check_kept_checkpoint
from index_builder.index_folder.version_record import CheckpointRecord, VersionRecord
from index_builder.index_folder.versions import IndexFolder
from index_builder.listing.rejections import REJECTED_FILE, write_rejected
from model.console import warn
from model.errors import GalleryIndexError

__all__ = ["RollbackReport", "roll_back"]


@dataclass(frozen=True)
class RollbackReport:
    """What is served after a rollback.

    Attributes:
        version: The served version.
        served_before: The version that was served before.
        restored_from: The version whose galleries and checkpoint are served now.
        is_new_version: False where they were served already.
        image_count: Pictures served; None without that gallery.
        caption_count: Captions served; None without that gallery.
    """

    version: int
    served_before: int
    restored_from: int
    is_new_version: bool
    image_count: int | None
    caption_count: int | None


def roll_back(path: Path, to: int | None = None) -> RollbackReport:
    """Serve what version `to` names.

    Args:
        path: The index folder.
        to: Default: the newest version before the served one that answers otherwise. A version
            made by a rollback counts as the one that it brought back, so a second rollback goes
            one further back.

    Raises:
        GalleryIndexError: There is no such version, or it is damaged; nothing is switched.
    """
    index = IndexFolder(path)
    index.current()  # where there is no index, no folder is made
    with index.writing():
        before = index.current()
        served = _served(index)
        target = index.record(to) if to is not None else _earlier(index, before, served)
        checkpoint = _checkpoint(target, served)
        check_kept_checkpoint(index, checkpoint)
        opened = index.open(target.version)
        galleries = [gallery for gallery in (opened.images, opened.captions) if gallery]
        try:
            version = index.publish(
                checkpoint=checkpoint,
                images=target.images,
                captions=target.captions,
                images_root=Path(target.images_root) if target.images_root else None,
                quality=target.quality,
                restored_from=target.origin,
            )
            write_rejected(
                index.path / REJECTED_FILE,
                ((gallery.kind, gallery.rejected()) for gallery in galleries),
            )
        finally:
            opened.close()
    return RollbackReport(
        version=version,
        served_before=before,
        restored_from=target.version,
        is_new_version=version != before,
        image_count=opened.images.count if opened.images else None,
        caption_count=opened.captions.count if opened.captions else None,
    )


def _served(index: IndexFolder) -> VersionRecord | None:
    """Return what is served; None where its record is damaged, which a rollback cures."""
    try:
        return index.served_record()
    except GalleryIndexError as error:
        warn(str(error))
        return None


def _earlier(index: IndexFolder, current: int, served: VersionRecord | None) -> VersionRecord:
    first = current if served is None else served.origin
    for version in reversed(index.versions()):
        if version >= first:
            continue
        try:
            record = index.record(version)
        except GalleryIndexError as error:
            warn(f"{error}; it is passed over")
            continue
        if served is None or _answers(record) != _answers(served):
            return record
    others = [version for version in index.versions() if version not in (current, first)]
    copy = f", which brought {first} back" if current != first else ""
    remedy = f"name one of {others} with --to, or build" if others else "build"
    raise GalleryIndexError(
        f"{index.path} serves version {current}{copy}, and has nothing older that differs; "
        f"{remedy} the index again, or put a backup back"
    )


def _answers(record: VersionRecord) -> tuple[object, ...]:
    """Return what decides which hits a version finds."""
    return record.images, record.captions, record.checkpoint.fingerprint


def _checkpoint(target: VersionRecord, served: VersionRecord | None) -> CheckpointRecord:
    """Return the kept copy that a version needs, as it was written about last."""
    if served is not None and served.checkpoint.fingerprint == target.checkpoint.fingerprint:
        return served.checkpoint
    return target.checkpoint
