"""What a version says: which galleries, which checkpoint; the record vouches for itself.

A version vouches for the manifests of its galleries and for every file of its checkpoint, a
manifest for every file of its gallery. So nothing below an index folder can change unnoticed.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, computed_field, model_validator

from index_builder.galleries.manifest import FileRecord, Record, parse_record
from index_builder.index_folder.quality_records import RetrievalQuality
from model.errors import GalleryIndexError

__all__ = ["CheckpointRecord", "GalleryRecord", "VersionRecord", "read_version_record"]

_SEAL = "record_sha256"


class CheckpointRecord(Record):
    """The checkpoint that a version was built with."""

    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    folder: str = Field(description="below the index folder")
    name: str = Field(description="name of the network")
    files: dict[str, FileRecord] = Field(description="every file of the kept copy")


class GalleryRecord(Record):
    """A gallery, and the hash that vouches for its manifest."""

    folder: str = Field(description="below the index folder")
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$")


class VersionRecord(Record):
    """One version of an index; a gallery that it does not have is null.

    Its file holds exactly what `write` writes; so a new field needs a new schema_version.
    """

    schema_version: Literal[3] = 3
    version: int = Field(ge=1)
    created_at: datetime
    checkpoint: CheckpointRecord
    images: GalleryRecord | None
    captions: GalleryRecord | None
    images_root: str | None = Field(description="folder that the pictures' paths are relative to")
    quality: RetrievalQuality | None = Field(
        default=None, description="R@K and hubs, where captions name pictures of this version"
    )
    restored_from: int | None = Field(
        default=None, ge=1, description="the version that a rollback brought back"
    )

    @model_validator(mode="before")
    @classmethod
    def _without_seal(cls, stored: Any) -> Any:
        # It is worked out anew; `read_version_record` compares.
        if isinstance(stored, dict):
            return {name: value for name, value in stored.items() if name != _SEAL}
        return stored

    @computed_field(description="sha256 of this record without this field, as compact JSON")  # type: ignore[prop-decorator]
    @property
    def record_sha256(self) -> str:
        """64 hex digits that vouch for everything else in the record."""
        rest = self.model_dump_json(include=set(type(self).model_fields))
        return hashlib.sha256(rest.encode()).hexdigest()

    @property
    def origin(self) -> int:
        """The version that first named what this one names."""
        return self.version if self.restored_from is None else self.restored_from

    @property
    def galleries(self) -> list[GalleryRecord]:
        """The galleries that there are, images first."""
        return [record for record in (self.images, self.captions) if record is not None]

    @property
    def gallery_names(self) -> set[str]:
        """The names of the folders of its galleries."""
        return {Path(record.folder).name for record in self.galleries}

    def names_the_same(self, other: "VersionRecord") -> bool:
        """Return whether both versions answer every query alike."""
        own = {"version", "created_at", "quality", "restored_from", _SEAL}
        left, right = (record.model_dump(exclude=own) for record in (self, other))
        return left == right


def read_version_record(path: Path) -> VersionRecord:
    """Return the version in the file at `path`.

    Raises:
        GalleryIndexError: The file is missing, is no such record, or a byte of it was changed.
    """
    record = parse_record(VersionRecord, path)
    if path.read_bytes() != record.content():
        raise GalleryIndexError(
            f"{path} is not what its {_SEAL} vouches for: it was damaged or edited; serve another "
            "version with `python -m index_builder rollback`, or build into another folder"
        )
    return record
