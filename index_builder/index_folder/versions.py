"""The index folder: numbered versions, one of them served, switched atomically.

    current                     one line, the number of the served version
    versions/<n>.json           which galleries, which checkpoint, where the pictures lie
    galleries/<kind>-<hash>/    never changed once in place
    checkpoints/<16 hex>/       a copy of every checkpoint that a version names
    rejected.jsonl              inputs set aside in the galleries of the served version
    lock                        held by the one writer

Whoever reads sees a whole version or none: galleries and checkpoints are complete before a version
names them, a version is complete before `current` names it, and each step is flushed to the disk
before the next. Names with a leading dot are drafts; readers never look at them and the next
writer removes them, but for work that was begun (`galleries/.work-*`), with which a build goes on,
and a checkpoint that was moved aside for a copy which never came (`.previous-*`): it is put back.
"""

import errno
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from index_builder.encoding.work import WORK_PREFIX
from index_builder.index_folder.missing_index import told_missing_index
from index_builder.index_folder.open_index import OpenIndex, open_version
from index_builder.index_folder.quality_records import RetrievalQuality
from index_builder.index_folder.version_record import (
    CheckpointRecord,
    GalleryRecord,
    VersionRecord,
    read_version_record,
)
from model.console import warn
from model.durable import sync_folder, write_file
from model.errors import GalleryIndexError, NoIndexError
from model.file_lock import exclusive_lock

__all__ = [
    "OWN_NAMES",
    "PREVIOUS_PREFIX",
    "CheckpointRecord",
    "GalleryRecord",
    "IndexFolder",
    "OpenIndex",
    "VersionRecord",
    "remove",
]

OWN_NAMES = {"current", "versions", "galleries", "checkpoints", "rejected.jsonl", "lock"}
# Where a kept checkpoint is for a moment, while a complete new copy takes its place.
PREVIOUS_PREFIX = ".previous-"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NEVER_SERVED = ".never-served-"
_FOLDERS = ("versions", "galleries", "checkpoints")


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
            NoIndexError: There is no index here.
            GalleryIndexError: `current` is damaged.
        """
        place = self.path / "current"
        try:
            line = place.read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NoIndexError(told_missing_index(self.path, self.versions())) from error
        # Not a byte more or less: a version cut short would be another version.
        if not re.fullmatch(rb"[1-9][0-9]{0,11}\n", line):
            raise GalleryIndexError(
                f"{place} says {line[:40]!r} instead of a version and a line end; write one of "
                f"{self.versions()} into it"
            )
        return int(line)

    def _current_or_zero(self) -> int:
        return self.current() if (self.path / "current").exists() else 0

    def versions(self) -> list[int]:
        """Return the numbers of all versions, ascending."""
        names = [path.stem for path in (self.path / "versions").glob("[0-9]*.json")]
        return sorted(int(name) for name in names if name.isdecimal())

    def never_served(self) -> int | None:
        """Return the version that a killed writer did not come to switch to; None without one.

        Raises:
            GalleryIndexError: `current` is damaged: a killed writer leaves one version at most.
        """
        served = self._current_or_zero()
        newer = [version for version in self.versions() if version > served]
        if len(newer) > 1:
            raise GalleryIndexError(
                f"{self.path / 'current'} says {served or 'nothing'} but versions {newer} are "
                f"newer: it was damaged or edited; write {newer[-1]} into it, then use "
                "`python -m index_builder rollback` for an older one"
            )
        return newer[0] if newer else None

    def set_aside(self, version: int) -> None:
        """Rename the record of a version that was never served; call while `writing`.

        Its file stays until a later version is served, so that its number is not used again.
        """
        place = self.record_path(version).with_name(f"{_NEVER_SERVED}{version}.json")
        self.record_path(version).rename(place)
        sync_folder(self.path / "versions")
        warn(
            f"version {version} is not served: a builder was killed before it switched to it, or "
            f"`current` was edited; its record is now {place}"
        )

    def old_never_served_records(self) -> list[Path]:
        """Return the records that were set aside and whose numbers newer versions have passed."""
        served = self.current()
        return [place for number, place in self._never_served_records().items() if number < served]

    def _never_served_records(self) -> dict[int, Path]:
        found = (self.path / "versions").glob(f"{_NEVER_SERVED}[0-9]*.json")
        numbers = ((place.stem.removeprefix(_NEVER_SERVED), place) for place in sorted(found))
        return {int(number): place for number, place in numbers if number.isdecimal()}

    def record_path(self, version: int) -> Path:
        """Return where a version is written."""
        return self.path / "versions" / f"{version}.json"

    def record(self, version: int | None = None) -> VersionRecord:
        """Return what is written about a version (default: the served one).

        Raises:
            GalleryIndexError: There is no such version, or its file is damaged.
        """
        number = self.current() if version is None else version
        path = self.record_path(number)
        if not path.is_file():
            has = f"{self.path} has no version {number}; it has {self.versions() or 'none'}"
            if version is None:
                has += f"; write one of those into {self.path / 'current'}, which names this one"
            raise GalleryIndexError(has)
        record = read_version_record(path)
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
        return open_version(self.path, self.record(version), images_root=images_root, device=device)

    @contextmanager
    def writing(self, *, keep_drafts: bool = False) -> Iterator["IndexFolder"]:
        """Be the one writer: make the folder, take the lock, and clear what was left half-built.

        What fails where there is no index yet leaves nothing, if there is no work to go on with.

        Args:
            keep_drafts: Leave what was left half-built where it is.

        Raises:
            GalleryIndexError: Another process writes, the folder holds something else, or it
                cannot be written.
        """
        was_there = self.path.exists()
        try:
            self._claim()
            with exclusive_lock(self.path / "lock", refusal=self._is_written_by):
                self._bring_back()
                if not keep_drafts:
                    for draft in self.drafts():
                        remove(draft)
                try:
                    yield self
                except BaseException:
                    if not self._has_anything():
                        self._clear(was_there)
                    raise
        except (OSError, sqlite3.Error) as error:
            # A full disk, a quota, a folder that lost its permissions: foreseen, if not frequent.
            # Of two names the second is the one that was written to.
            names = (getattr(error, name, None) for name in ("filename2", "filename"))
            place = next(filter(None, names), self.path)
            reason = getattr(error, "strerror", None) or error
            is_full = getattr(error, "errno", None) in _FULL or "disk is full" in str(error)
            remedy = "free space" if is_full else "correct that"
            is_served = (self.path / "current").exists()
            served = "what was served before is still served" if is_served else "nothing is served"
            raise GalleryIndexError(
                f"cannot write {place}: {reason}; {served}; {remedy} and run the same command "
                "again: it goes on where it was"
            ) from error

    def publish(
        self,
        *,
        checkpoint: CheckpointRecord,
        images: GalleryRecord | None,
        captions: GalleryRecord | None,
        images_root: Path | None,
        quality: RetrievalQuality | None = None,
        restored_from: int | None = None,
    ) -> int:
        """Serve these galleries from now on and return the version; call while `writing`.

        A version that would say the same as the served one is not written again. So `current`
        always names the newest, but for one that a killed writer did not come to switch to; that
        one is set aside.

        Raises:
            GalleryIndexError: More than one version is newer than the served one.
        """
        # `current` counts too: the record that it names may be lost, and its number was served.
        numbers = [*self.versions(), *self._never_served_records(), self._current_or_zero()]
        record = VersionRecord(
            version=max(numbers) + 1,
            created_at=datetime.now(UTC),
            checkpoint=checkpoint,
            images=images,
            captions=captions,
            images_root=None if images_root is None else str(images_root),
            quality=quality,
            restored_from=restored_from,
        )
        if (abandoned := self.never_served()) is not None:
            self.set_aside(abandoned)
        served = self._readable_served_record()
        if served is not None and served.names_the_same(record):
            return served.version
        record.write(self.record_path(record.version))
        write_file(self.path / "current", f"{record.version}\n".encode())
        return record.version

    def served_record(self) -> VersionRecord | None:
        """Return what is served now, or None where nothing is served yet."""
        return self.record() if (self.path / "current").exists() else None

    def _readable_served_record(self) -> VersionRecord | None:
        try:
            return self.served_record()
        except GalleryIndexError:
            return None  # what is damaged is like nothing

    def _is_written_by(self, holder: str) -> GalleryIndexError:
        return GalleryIndexError(
            f"another process is writing {self.path} ({holder}); wait until it has finished"
        )

    def _claim(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        names = {path.name for path in self.path.iterdir() if not path.name.startswith(".")}
        if foreign := names - OWN_NAMES:
            raise GalleryIndexError(
                f"{self.path} holds other things ({', '.join(sorted(foreign)[:3])}) and no index; "
                "name an empty or a new folder"
            )
        for name in _FOLDERS:
            (self.path / name).mkdir(exist_ok=True)
        sync_folder(self.path)

    def _has_anything(self) -> bool:
        """Return whether there is a version, a gallery, or work that a build can go on with."""
        if (self.path / "current").exists() or any((self.path / "versions").glob("*")):
            return True
        return not set(self.galleries.glob("*")) <= set(self.drafts())

    def _clear(self, was_there: bool) -> None:
        """Remove all that is ours, the folder too unless it was there; the lock is held."""
        for name in _FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        with suppress(OSError):
            (self.path / "lock").unlink()
            if not was_there:
                self.path.rmdir()

    def _bring_back(self) -> None:
        """Put a kept checkpoint back that a writer was killed while replacing."""
        for previous, place in self._unreplaced():
            previous.rename(place)
            sync_folder(self.checkpoints)

    def _unreplaced(self) -> list[tuple[Path, Path]]:
        """Return each kept checkpoint whose successor did not come into its place, and that."""
        found = (
            (previous, previous.with_name(previous.name.removeprefix(PREVIOUS_PREFIX)))
            for previous in self.checkpoints.glob(f"{PREVIOUS_PREFIX}*")
        )
        return [(previous, place) for previous, place in found if not place.exists()]

    def drafts(self) -> list[Path]:
        """Return what was left half-built, work that a build goes on with apart."""
        needed = {previous for previous, _ in self._unreplaced()}
        found = [
            draft
            for folder in (self.galleries, self.checkpoints)
            for draft in folder.glob(".*-*")
            if not draft.name.startswith(WORK_PREFIX) and draft not in needed
        ]
        for folder in (self.path, self.path / "versions"):
            found += folder.glob(".*.tmp")
        return sorted(found)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
