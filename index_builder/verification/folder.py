"""The files of an index: `current`, the versions, and every file that a version vouches for."""

import itertools
from collections.abc import Sequence

from index_builder.encoding.work import work_folders
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.gallery_files import file_names
from index_builder.galleries.manifest import FileRecord, GalleryKind, Manifest, parse_record
from index_builder.index_folder.version_record import CheckpointRecord, GalleryRecord, VersionRecord
from index_builder.index_folder.versions import OWN_NAMES, IndexFolder
from index_builder.index_folder.vouched_files import file_faults
from index_builder.listing.rejections import REJECTED_FILE, rejected_lines
from index_builder.verification.findings import Check, Found, Report
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import GalleryIndexError

__all__ = [
    "check_checkpoint",
    "check_current",
    "check_gallery_files",
    "check_other_versions",
    "check_rejected",
    "check_versions",
]


def check_current(index: IndexFolder, check: Check) -> int | None:
    """Look at `current` and return the version to verify: the served one, else the newest.

    None where there is no version at all.
    """
    versions = index.versions()
    newest = versions[-1] if versions else None
    try:
        served = index.current()
    except GalleryIndexError as error:
        check.problems.append(str(error))
        return newest
    check.looked_at = f"serves version {served} of {Found(versions)}"
    if served not in versions:
        what = "there are none; build again" if newest is None else f"write {newest} into it"
        check.problems.append(f"current says {served} but there is no such version: {what}")
        return newest
    if newest is not None and served < newest:
        check.problems.append(
            f"current says {served} but version {newest} is newer: a builder was killed before it "
            "switched, and the next build, rollback or prune sets it aside; or current was "
            f"damaged: then write {newest} into it"
        )
    return served


def check_versions(index: IndexFolder, check: Check) -> None:
    """Look at every record of a version, and for files that belong to nothing."""
    versions = index.versions()
    check.looked_at = f"versions: {len(versions)}"
    named: set[str] = set()
    for version in versions:
        try:
            record = index.record(version)
        except GalleryIndexError as error:
            check.problems.append(str(error))
            continue
        named |= _folders(record)
    records = {index.record_path(version) for version in versions}
    foreign = [path for path in (index.path / "versions").glob("[!.]*") if path not in records]
    foreign += [path for path in index.path.glob("[!.]*") if path.name not in OWN_NAMES]
    check.problems += [
        f"{path.relative_to(index.path)} is no part of an index; move it away"
        for path in sorted(foreign)
    ]
    below = [*index.galleries.glob("[!.]*"), *index.checkpoints.glob("[!.]*")]
    places = sorted(path.relative_to(index.path).as_posix() for path in below)
    if unneeded := [place for place in places if place not in named]:
        check.notes.append(f"no version names {Found(unneeded)}; prune removes it")
    if unfinished := work_folders(index.galleries) + index.drafts():
        check.notes.append(
            f"{Found([path.name for path in unfinished])}: work that was not finished; build "
            "again to go on with it, or use `prune --unfinished`"
        )


def check_other_versions(index: IndexFolder, verified: int, check: Check) -> None:
    """Look whether the other versions have their files, of the right size: none of them is read."""
    try:
        seen = _folders(index.record(verified))
    except GalleryIndexError:
        seen = set()
    looked_at = 0
    for version in index.versions():
        try:
            record = index.record(version)
        except GalleryIndexError:
            continue  # told already
        new = _folders(record) - seen
        seen |= new
        looked_at += len(new)
        for folder in sorted(new):
            if fault := _first_missing(index, record, folder):
                check.problems.append(
                    f"version {version} needs {fault}; nobody can roll back to it: put that folder "
                    "back from a backup, or prune the version"
                )
    check.looked_at = f"{looked_at} folders, by the sizes of their files"


def _folders(record: VersionRecord) -> set[str]:
    return {record.checkpoint.folder, *(gallery.folder for gallery in record.galleries)}


def _first_missing(index: IndexFolder, record: VersionRecord, folder: str) -> str:
    """Return what is said of the first file of a folder that is missing or cut short; or ""."""
    files: dict[str, FileRecord] = dict(record.checkpoint.files)
    if folder != record.checkpoint.folder:
        manifest = index.path / folder / "manifest.json"
        if not manifest.is_file():
            return f"{folder}/manifest.json, which is missing"
        try:
            files = dict(parse_record(Manifest, manifest).files)
        except GalleryIndexError:
            return f"{folder}/manifest.json, which is damaged"
    for name, file in files.items():
        path = index.path / folder / name
        if not path.is_file():
            return f"{folder}/{name}, which is missing"
        if (size := path.stat().st_size) != file.size_bytes:
            return f"{folder}/{name}, which has {size} bytes instead of {file.size_bytes}"
    return ""


def check_gallery_files(
    index: IndexFolder,
    kind: GalleryKind,
    record: GalleryRecord,
    version: VersionRecord,
    check: Check,
) -> Manifest | None:
    """Read every file of a gallery to its end; return the manifest if all are what it says."""
    folder = index.path / record.folder
    place = folder / "manifest.json"
    advice = _advice(record.folder)
    if not place.is_file():
        check.problems.append(f"{record.folder}/manifest.json is missing; {advice}")
        return None
    says = f"versions/{version.version}.json"
    manifest_record = FileRecord(size_bytes=place.stat().st_size, sha256=record.manifest_sha256)
    try:
        manifest = parse_record(Manifest, place)
    except GalleryIndexError:
        files = {"manifest.json": manifest_record}
        alone = file_faults(folder, files, place=record.folder, said_by=says)
        check.problems += [f"{fault}; {advice}" for name, fault in alone if name in files]
        return None
    files = {"manifest.json": manifest_record, **manifest.files}
    said_by = f"{says} or its manifest.json"
    faults = dict(file_faults(folder, files, place=record.folder, said_by=said_by))
    check.problems += [f"{fault}; {advice}" for fault in faults.values()]
    size = sum(file.size_bytes for file in files.values())
    check.looked_at = f"{len(files)} files, {size / 1e6:,.1f} MB"
    is_sound = faults.keys().isdisjoint(files)
    for what, found, said in (
        ("lists the files", sorted(manifest.files), sorted(file_names(kind))),
        ("calls itself", manifest.gallery, folder.name),
        ("is of", manifest.kind, kind),
        (
            "was built with checkpoint",
            manifest.checkpoint_fingerprint[:16],
            version.checkpoint.fingerprint[:16],
        ),
    ):
        if found != said:
            is_sound = False
            check.problems.append(
                f"{record.folder}/manifest.json {what} {found} instead of {said}; {advice}"
            )
    return manifest if is_sound else None


def check_checkpoint(
    index: IndexFolder, record: CheckpointRecord, device: str, report: Report
) -> DualEncoder | None:
    """Read every file of the kept checkpoint, load it, and return the network if it is the one."""
    advice = "build again with this checkpoint, which copies it anew"
    with report.check("checkpoint", "files") as check:
        faults = dict(
            file_faults(
                index.path / record.folder, record.files, place=record.folder, said_by="its version"
            )
        )
        check.problems += [f"{fault}; {advice}" for fault in faults.values()]
        size = sum(file.size_bytes for file in record.files.values())
        check.looked_at = f"{len(record.files)} files, {size / 1e6:,.1f} MB"
        if not faults.keys().isdisjoint(record.files):
            check.notes.append("damaged, so not loaded: nothing is encoded again")
            return None
    with report.check("checkpoint", "fingerprint") as check:
        encoder = load_dual_encoder(index.path / record.folder, device=device)
        check.looked_at = record.fingerprint[:16]
        if encoder.fingerprint == record.fingerprint:
            return encoder
        check.problems.append(
            f"{record.folder} has fingerprint {encoder.fingerprint[:16]} but its version says "
            f"{record.fingerprint[:16]}; {advice}"
        )
    return None


def check_rejected(
    index: IndexFolder, served: int, galleries: Sequence[Gallery] | None, check: Check
) -> None:
    """Compare `rejected.jsonl` with what the galleries of the served version set aside.

    Args:
        index: The index folder.
        served: The served version.
        galleries: None where one of them is damaged.
        check: Takes what is found.
    """
    path = index.path / REJECTED_FILE
    advice = f"`python -m index_builder rollback {index.path} --to {served}` writes it anew"
    if not path.is_file():
        check.problems.append(f"{path.name} is missing; {advice}")
        return
    if galleries is None:
        check.notes.append("not compared with damaged galleries")
        return
    expected = rejected_lines((gallery.kind, gallery.rejected()) for gallery in galleries)
    count = 0
    with path.open("rb") as file:
        for line, said in itertools.zip_longest(file, expected):
            count += 1
            if line is None or said is None or line != f"{said}\n".encode():
                check.problems.append(
                    f"line {count} of {path.name} is not what the galleries set aside; {advice}"
                )
                return
    check.looked_at = f"{count:,} lines"


def _advice(folder: str) -> str:
    return f"use `python -m index_builder rollback`, or delete {folder} and build again"
