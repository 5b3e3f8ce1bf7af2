"""The index folder: numbered versions, one of them served, switched atomically.

    current                     one line, the number of the served version
    versions/<n>.json           which galleries, which checkpoint, where the pictures lie
    galleries/<kind>-<hash>/    never changed once in place
    checkpoints/<16 hex>/       a copy of every checkpoint that a version names
    rejected.jsonl              inputs set aside when the served version was built
    lock                        held by the one writer

Whoever reads sees a whole version or none: galleries and checkpoints are complete before a version
names them, a version is complete before `current` names it, and each step is flushed to the disk
before the next. Names with a leading dot are drafts; readers never look at them and the next
writer removes them, but for work that was begun (`galleries/.work-*`): a build goes on with it.
"""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from index_builder.gallery import Gallery
from index_builder.lock import exclusive_lock
from index_builder.manifest import GalleryKind, Record, parse_record
from index_builder.retrieval_quality import RetrievalQuality
from index_builder.work import WORK_PREFIX
from model.durable import sync_folder, write_file
from model.errors import GalleryIndexError
from model.identifiers import sha256_of_file

__all__ = ["CheckpointRecord", "GalleryRecord", "IndexFolder", "OpenIndex", "VersionRecord"]

_OWN_NAMES = {"current", "versions", "galleries", "checkpoints", "rejected.jsonl", "lock"}
_FOLDERS = ("versions", "galleries", "checkpoints")


class CheckpointRecord(Record):
    """The checkpoint that a version was built with."""

    fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    folder: str = Field(description="below the index folder")
    name: str = Field(description="name of the network")


class GalleryRecord(Record):
    """A gallery, and the hash that vouches for its manifest."""

    folder: str = Field(description="below the index folder")
    manifest_sha256: str = Field(pattern="^[0-9a-f]{64}$")


class VersionRecord(Record):
    """One version of an index; a gallery that it does not have is null."""

    schema_version: Literal[1] = 1
    version: int = Field(ge=1)
    created_at: datetime
    checkpoint: CheckpointRecord
    images: GalleryRecord | None
    captions: GalleryRecord | None
    images_root: str | None = Field(description="folder that the pictures' paths are relative to")
    quality: RetrievalQuality | None = Field(
        default=None, description="R@K and hubs, where captions name pictures of this version"
    )

    @property
    def gallery_names(self) -> set[str]:
        """The names of the folders of its galleries."""
        records = [record for record in (self.images, self.captions) if record is not None]
        return {Path(record.folder).name for record in records}

    def names_the_same(self, other: "VersionRecord") -> bool:
        """Return whether both versions answer every query alike."""
        left, right = (
            record.model_dump(exclude={"version", "created_at", "quality"})
            for record in (self, other)
        )
        return left == right


@dataclass(frozen=True)
class OpenIndex:
    """An open version of an index: its galleries, checked, and its checkpoint.

    Attributes:
        folder: The index folder.
        record: What `versions/<n>.json` says.
        images: The images gallery, or None.
        captions: The captions gallery, or None.
    """

    folder: Path
    record: VersionRecord
    images: Gallery | None
    captions: Gallery | None

    @property
    def version(self) -> int:
        """The n of versions/<n>.json."""
        return self.record.version

    @property
    def checkpoint_fingerprint(self) -> str:
        """64 hex digits of the checkpoint that encoded both galleries."""
        return self.record.checkpoint.fingerprint

    @property
    def checkpoint_path(self) -> Path:
        """The copy of that checkpoint inside the index folder."""
        return self.folder / self.record.checkpoint.folder

    def gallery(self, kind: GalleryKind) -> Gallery | None:
        """Return the gallery of that kind, or None if this version has none."""
        return self.images if kind == "images" else self.captions

    def check_encoder(self, fingerprint: str, place: str | Path) -> None:
        """Refuse an encoder that did not encode this index.

        Raises:
            GalleryIndexError: The fingerprints differ.
        """
        if fingerprint != self.checkpoint_fingerprint:
            raise GalleryIndexError(
                f"checkpoint {place} has fingerprint {fingerprint[:16]} but version "
                f"{self.version} of {self.folder} was built with "
                f"{self.checkpoint_fingerprint[:16]}; use that checkpoint, or build the index "
                f"again with: python -m index_builder build --checkpoint {place}"
            )

    def close(self) -> None:
        """Close both galleries."""
        for gallery in (self.images, self.captions):
            if gallery is not None:
                gallery.close()


class IndexFolder:
    """An index folder, present or to be written."""

    def __init__(self, path: Path | str) -> None:
        """Name a folder; nothing is read or made yet."""
        self.path = Path(path)

    @property
    def galleries(self) -> Path:
        """Where galleries lie."""
        return self.path / "galleries"

    @property
    def checkpoints(self) -> Path:
        """Where copies of checkpoints lie."""
        return self.path / "checkpoints"

    def current(self) -> int:
        """Return the served version.

        Raises:
            GalleryIndexError: There is no index here, or `current` is damaged.
        """
        place = self.path / "current"
        try:
            line = place.read_text().strip()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise GalleryIndexError(
                f"{self.path} holds no index (no file `current`); make one with: "
                f"python -m index_builder build --output {self.path} --help"
            ) from error
        if not re.fullmatch("[1-9][0-9]{0,11}", line):
            raise GalleryIndexError(
                f"{place} says {line[:40]!r} instead of a version; write one of {self.versions()}"
            )
        return int(line)

    def versions(self) -> list[int]:
        """Return the numbers of all versions, ascending."""
        names = [path.stem for path in (self.path / "versions").glob("[0-9]*.json")]
        return sorted(int(name) for name in names if name.isdecimal())

    def record(self, version: int | None = None) -> VersionRecord:
        """Return what is written about a version (default: the served one).

        Raises:
            GalleryIndexError: There is no such version, or its file is damaged.
        """
        number = self.current() if version is None else version
        path = self._record_path(number)
        if not path.is_file():
            raise GalleryIndexError(
                f"{self.path} has no version {number}; it has {self.versions() or 'none'}"
            )
        record = parse_record(VersionRecord, path)
        if record.version != number:
            raise GalleryIndexError(
                f"{path} says version {record.version} but is named {number}; build the index again"
            )
        return record

    def open(
        self,
        version: int | None = None,
        *,
        images_root: Path | None = None,
        device: str = "cpu",
    ) -> OpenIndex:
        """Open a version (default: the served one) after checking all of it.

        Args:
            version: A number of `versions()`.
            images_root: Where the pictures lie now, if they moved.
            device: Where vectors are compared: cpu, or a GPU of torch.

        Raises:
            GalleryIndexError: There is no such version, or something does not match.
        """
        record = self.record(version)
        if record.images is None and record.captions is None:
            raise GalleryIndexError(
                f"version {record.version} of {self.path} names no gallery; build the index again"
            )
        root = images_root or (Path(record.images_root) if record.images_root else None)
        images = self._open_gallery(record, "images", root, device)
        try:
            captions = self._open_gallery(record, "captions", None, device)
        except GalleryIndexError:
            if images is not None:
                images.close()
            raise
        return OpenIndex(self.path, record, images, captions)

    def _open_gallery(
        self, version: VersionRecord, kind: GalleryKind, root: Path | None, device: str
    ) -> Gallery | None:
        record = version.images if kind == "images" else version.captions
        if record is None:
            return None
        source = f"versions/{version.version}.json"
        gallery = Gallery.open(self.path / record.folder, images_root=root, device=device)
        manifest_sha256 = sha256_of_file(gallery.folder / "manifest.json")
        for what, found, expected in (
            ("is a gallery of", gallery.kind, kind),
            (
                "was built with checkpoint",
                gallery.manifest.checkpoint_fingerprint[:16],
                version.checkpoint.fingerprint[:16],
            ),
            ("has a manifest.json with sha256", manifest_sha256[:16], record.manifest_sha256[:16]),
        ):
            if found != expected:
                gallery.close()
                raise GalleryIndexError(
                    f"{record.folder} {what} {found} but {source} says {expected}; "
                    "build the index again"
                )
        return gallery

    @contextmanager
    def writing(self) -> Iterator["IndexFolder"]:
        """Be the one writer: make the folder, take the lock, and clear what was left half-built.

        Raises:
            GalleryIndexError: Another process writes, the folder holds something else, or it
                cannot be written.
        """
        try:
            self._claim()
            with exclusive_lock(self.path / "lock"):
                self._remove_drafts()
                yield self
        except (OSError, sqlite3.Error) as error:
            # A full disk, a quota, a folder that lost its permissions: foreseen, if not frequent.
            place = getattr(error, "filename", None) or self.path
            reason = getattr(error, "strerror", None) or error
            raise GalleryIndexError(
                f"cannot write {place}: {reason}; what was served before is still served"
            ) from error

    def publish(
        self,
        *,
        checkpoint: CheckpointRecord,
        images: GalleryRecord | None,
        captions: GalleryRecord | None,
        images_root: Path | None,
        quality: RetrievalQuality | None = None,
    ) -> int:
        """Serve these galleries from now on and return the version; call while `writing`.

        A version that would say the same as the served one is not written again.
        """
        record = VersionRecord(
            version=max(self.versions(), default=0) + 1,
            created_at=datetime.now(UTC),
            checkpoint=checkpoint,
            images=images,
            captions=captions,
            images_root=None if images_root is None else str(images_root),
            quality=quality,
        )
        served = self.served_record()
        if served is not None and served.names_the_same(record):
            return served.version
        record.write(self._record_path(record.version))
        write_file(self.path / "current", f"{record.version}\n".encode())
        return record.version

    def served_record(self) -> VersionRecord | None:
        """Return what is served now, or None where nothing is served yet."""
        return self.record() if (self.path / "current").exists() else None

    def _record_path(self, version: int) -> Path:
        return self.path / "versions" / f"{version}.json"

    def _claim(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        if foreign := names - _OWN_NAMES:
            raise GalleryIndexError(
                f"{self.path} holds other things ({', '.join(sorted(foreign)[:3])}) and no index; "
                "name an empty or a new folder"
            )
        for name in _FOLDERS:
            (self.path / name).mkdir(exist_ok=True)
        sync_folder(self.path)

    def _remove_drafts(self) -> None:
        for folder in (self.galleries, self.checkpoints):
            for draft in folder.glob(".*-*"):
                if not draft.name.startswith(WORK_PREFIX):
                    shutil.rmtree(draft)
        for folder in (self.path, self.path / "versions"):
            for draft in folder.glob(".*.tmp"):
                draft.unlink()
