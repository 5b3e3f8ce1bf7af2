"""The copy of a checkpoint inside an index, so that a service needs the index alone.

Files are copied: a file that a training run overwrites in place would change under all its names.
Only a hub cache's, which are never written to again, are hard-linked where the disk allows it. What
loading does not need is left out (`training/`; a pretrained model's weights in other formats).

A copy that a version may name stays in its place until a complete new one is renamed over to it.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from index_builder.galleries.manifest import FileRecord
from index_builder.index_folder.version_record import CheckpointRecord
from index_builder.index_folder.versions import PREVIOUS_PREFIX, IndexFolder
from index_builder.index_folder.vouched_files import file_faults, files_below, records_of_files
from model.console import warn
from model.dual_encoder import DualEncoder, files_of_dual_encoder, load_dual_encoder
from model.durable import move_folder, sync_file, sync_folder
from model.errors import CheckpointError, GalleryIndexError

__all__ = ["KeptCheckpoint", "check_kept_checkpoint", "keep_checkpoint"]

_DIGITS = 16


@dataclass(frozen=True)
class KeptCheckpoint:
    """A checkpoint inside an index, as it was when its network was loaded.

    Attributes:
        record: What a version says about it.
        folder: Where it lies.
    """

    record: CheckpointRecord
    folder: Path
    _stamps: dict[str, tuple[int, int]]

    def check_unchanged(self) -> None:
        """Refuse to serve it if a file of the copy was written to meanwhile.

        Raises:
            GalleryIndexError: The files are other ones; they stay for the next build to replace.
        """
        if _stamps(self.folder) == self._stamps:
            return
        if records_of_files(self.folder) == self.record.files:
            return
        raise GalleryIndexError(
            f"checkpoint {self.folder} was written to while the index was built; nothing was "
            "switched: build again, which copies it anew"
        )


def keep_checkpoint(index: IndexFolder, source: str | Path, encoder: DualEncoder) -> KeptCheckpoint:
    """Copy the checkpoint that `encoder` was loaded from into `index`, unless it is there.

    Raises:
        GalleryIndexError: The checkpoint changed since it was loaded.
    """
    name = encoder.fingerprint[:_DIGITS]
    folder = index.checkpoints / name
    if folder.is_dir():
        stamps = _stamps(folder)
        if (files := _files_of_kept(index, folder, encoder.fingerprint)) is not None:
            return KeptCheckpoint(_record(encoder, files), folder, stamps)
        warn(f"{folder} was written to since it was kept; it is copied anew")
    draft = Path(tempfile.mkdtemp(prefix=".copy-", dir=index.checkpoints))
    draft.chmod(0o755)
    _fill(draft, source)
    stamps = _stamps(draft)
    files = records_of_files(draft)
    # A training run may have replaced the files meanwhile; what is kept must be what encodes.
    if not _holds(draft, encoder.fingerprint):
        raise GalleryIndexError(
            f"checkpoint {source} was written to after fingerprint {name} was loaded from it; "
            "build again when it no longer changes"
        )
    _put_in_place(draft, folder)
    return KeptCheckpoint(_record(encoder, files), folder, stamps)


def check_kept_checkpoint(index: IndexFolder, record: CheckpointRecord) -> None:
    """Compare every file of a kept checkpoint with what a version says about it.

    Raises:
        GalleryIndexError: One is missing, too many, or another one.
    """
    faults = file_faults(
        index.path / record.folder, record.files, place=record.folder, said_by="its version"
    )
    for _, fault in faults:
        raise GalleryIndexError(f"{fault}; build the index again with this checkpoint")


def _record(encoder: DualEncoder, files: dict[str, FileRecord]) -> CheckpointRecord:
    return CheckpointRecord(
        fingerprint=encoder.fingerprint,
        folder=f"checkpoints/{encoder.fingerprint[:_DIGITS]}",
        name=encoder.name,
        files=files,
    )


def _files_of_kept(
    index: IndexFolder, folder: Path, fingerprint: str
) -> dict[str, FileRecord] | None:
    """Return the files of a copy that is there; None if it is not what it should be."""
    files = records_of_files(folder)
    served = index.served_record()
    if served is not None and served.checkpoint.fingerprint == fingerprint:
        # The same bytes need not be loaded to know their fingerprint.
        return files if files == served.checkpoint.files else None
    return files if _holds(folder, fingerprint) else None


def _holds(folder: Path, fingerprint: str) -> bool:
    try:
        return load_dual_encoder(folder).fingerprint == fingerprint
    except CheckpointError:
        return False


def _put_in_place(draft: Path, folder: Path) -> None:
    """Rename a complete copy to its place; after a kill between the renames the next writer undoes.

    A folder that is not empty cannot be renamed over, so for a moment there is none.
    """
    if not folder.exists():
        move_folder(draft, folder)
        return
    sync_folder(draft)
    previous = folder.with_name(f"{PREVIOUS_PREFIX}{folder.name}")
    folder.rename(previous)
    draft.rename(folder)
    sync_folder(folder.parent)
    shutil.rmtree(previous)


def _stamps(folder: Path) -> dict[str, tuple[int, int]]:
    found = ((name, path.stat()) for name, path in files_below(folder).items())
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found}


def _fill(draft: Path, source: str | Path) -> None:
    for name, file in files_of_dual_encoder(source).items():
        place = draft / name
        place.parent.mkdir(parents=True, exist_ok=True)
        if not _is_linked(file, place):
            shutil.copyfile(file, place)
        sync_file(place)
    for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
        sync_folder(folder)


def _is_linked(file: Path, place: Path) -> bool:
    """Hard-link a file of a hub cache to `place`, if it is one and can be; return whether."""
    real = file.resolve()
    if not file.is_symlink() or real.parent.name != "blobs":
        return False
    try:
        os.link(real, place)
    except OSError:
        return False
    return True
