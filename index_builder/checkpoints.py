"""The copy of a checkpoint inside an index, so that a service needs the index alone.

Files are hard-linked where the disk allows it and copied elsewhere; what loading does not need is
left out (`training/`; weights in other formats beside a pretrained model's).
"""

import os
import shutil
import tempfile
from pathlib import Path

from index_builder.versions import CheckpointRecord, IndexFolder
from model.dual_encoder import DualEncoder, files_of_dual_encoder, load_dual_encoder
from model.durable import move_folder, sync_file, sync_folder
from model.errors import GalleryIndexError

__all__ = ["keep_checkpoint"]

_DIGITS = 16


def keep_checkpoint(
    index: IndexFolder, source: str | Path, encoder: DualEncoder
) -> CheckpointRecord:
    """Copy the checkpoint that `encoder` was loaded from into `index`, unless it is there.

    Raises:
        GalleryIndexError: The checkpoint changed since it was loaded.
    """
    name = encoder.fingerprint[:_DIGITS]
    record = CheckpointRecord(
        fingerprint=encoder.fingerprint, folder=f"checkpoints/{name}", name=encoder.name
    )
    if (index.checkpoints / name).is_dir():
        return record
    draft = Path(tempfile.mkdtemp(prefix=".copy-", dir=index.checkpoints))
    draft.chmod(0o755)
    _fill(draft, source)
    # A training run may have replaced the files meanwhile; what is kept must be what encodes.
    kept = load_dual_encoder(draft).fingerprint
    if kept != encoder.fingerprint:
        raise GalleryIndexError(
            f"checkpoint {source} has fingerprint {kept[:_DIGITS]} on the disk but "
            f"{name} was loaded from it; build again when it no longer changes"
        )
    move_folder(draft, index.checkpoints / name)
    return record


def _fill(draft: Path, source: str | Path) -> None:
    for name, file in files_of_dual_encoder(source).items():
        place = draft / name
        place.parent.mkdir(parents=True, exist_ok=True)
        real = file.resolve()  # the file itself, where a hub cache has a symbolic link
        try:
            os.link(real, place)
        except OSError:
            shutil.copyfile(real, place)
        sync_file(place)
    for folder in (draft, *(path for path in draft.rglob("*") if path.is_dir())):
        sync_folder(folder)
