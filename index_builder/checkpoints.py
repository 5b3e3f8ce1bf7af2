"""The copy of a checkpoint inside an index, so that a service needs the index alone.

Files are hard-linked where the disk allows it and copied elsewhere; `training/` is left out.
"""

import os
import shutil
import tempfile
from pathlib import Path

from index_builder.versions import CheckpointRecord, IndexFolder
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.durable import move_folder, sync_file, sync_folder
from model.errors import GalleryIndexError

__all__ = ["keep_checkpoint"]

_DIGITS = 16
_LEFT_OUT = {"training"}


def keep_checkpoint(
    index: IndexFolder, source: str | Path, encoder: DualEncoder
) -> CheckpointRecord:
    """Copy the checkpoint that `encoder` was loaded from into `index`, unless it is there.

    Raises:
        GalleryIndexError: The checkpoint changed since it was loaded, or is no folder.
    """
    name = encoder.fingerprint[:_DIGITS]
    record = CheckpointRecord(
        fingerprint=encoder.fingerprint, folder=f"checkpoints/{name}", name=encoder.name
    )
    if (index.checkpoints / name).is_dir():
        return record
    draft = Path(tempfile.mkdtemp(prefix=".copy-", dir=index.checkpoints))
    draft.chmod(0o755)
    _fill(draft, source, encoder)
    # A training run may have replaced the files meanwhile; what is kept must be what encodes.
    kept = load_dual_encoder(draft).fingerprint
    if kept != encoder.fingerprint:
        raise GalleryIndexError(
            f"checkpoint {source} has fingerprint {kept[:_DIGITS]} on the disk but "
            f"{name} was loaded from it; build again when it no longer changes"
        )
    move_folder(draft, index.checkpoints / name)
    return record


def _fill(draft: Path, source: str | Path, encoder: DualEncoder) -> None:
    folder = Path(source)
    if folder.is_dir():
        _link_tree(folder, draft)
    elif save := getattr(encoder, "save_pretrained", None):
        save(draft)  # a hub name: there is no folder to copy
    else:
        raise GalleryIndexError(
            f"{source} is no folder, so it cannot be kept in the index; give a checkpoint folder"
        )


def _link_tree(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        if entry.name.startswith(".") or entry.name in _LEFT_OUT:
            continue
        place = target / entry.name
        if entry.is_dir():
            place.mkdir()
            _link_tree(entry, place)
            continue
        real = entry.resolve()  # the file itself, where a hub cache has a symbolic link
        try:
            os.link(real, place)
        except OSError:
            shutil.copyfile(real, place)
        sync_file(place)
    sync_folder(target)
