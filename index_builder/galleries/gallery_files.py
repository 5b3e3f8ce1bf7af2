"""Does what lies in a gallery's folder match its manifest? What does not is refused by name."""

import re
from pathlib import Path
from typing import NoReturn

from index_builder.galleries.background import BACKGROUND_FILE
from index_builder.galleries.damaged import damaged
from index_builder.galleries.items import ItemStore
from index_builder.galleries.manifest import FileRecord, GalleryKind, Manifest, record_of_file
from index_builder.lookups.lookup_files import lookup_files

__all__ = [
    "check_files",
    "check_hash",
    "check_rows",
    "file_names",
    "is_hashed_on_opening",
    "refuse",
]

# Above this size only the length of a file is compared: opening must not read a large gallery.
# `Gallery.check_file` does before anything is made of it.
_HASHED_BYTES = 1 << 30


def file_names(kind: GalleryKind) -> set[str]:
    """Return the names of the files that the manifest of a gallery lists."""
    names = {"index.faiss", "embeddings.f16", "items.sqlite", "tombstones", BACKGROUND_FILE}
    names |= set(lookup_files(kind))
    return names | {"thumbnails.sqlite"} if kind == "images" else names


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare the files of a gallery with its manifest: all lengths, and hashes up to 1 GiB.

    Raises:
        GalleryIndexError: One is missing or differs; so too for all below.
    """
    expected = file_names(manifest.kind)
    if set(manifest.files) != expected:
        refuse(
            folder,
            f"manifest.json lists {sorted(manifest.files)}",
            f"a gallery of {manifest.kind} has {sorted(expected)}",
        )
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise damaged(f"{path} is missing")
        size = path.stat().st_size
        if size != record.size_bytes:
            refuse(folder, f"{name} has {size} bytes", f"manifest.json says {record.size_bytes}")
        if is_hashed_on_opening(record):
            check_hash(folder, name, record)


def is_hashed_on_opening(record: FileRecord) -> bool:
    """Return whether `check_files` reads such a file to its end."""
    return record.size_bytes <= _HASHED_BYTES


def check_hash(folder: Path, name: str, record: FileRecord) -> None:
    """Compare the hash of one file."""
    found = record_of_file(folder / name).sha256
    if found != record.sha256:
        refuse(
            folder,
            f"{name} has sha256 {found[:16]}",
            f"manifest.json says {record.sha256[:16]}",
        )


def check_rows(folder: Path, manifest: Manifest, items: ItemStore, removed_count: int) -> None:
    """Compare the numbers of rows in all files, and the ids."""
    vector_bytes = (folder / "embeddings.f16").stat().st_size
    for what, count, expected in (
        ("embeddings.f16", vector_bytes // (2 * manifest.dim), manifest.row_count),
        ("tombstones", removed_count, manifest.tombstone_count),
        ("items.sqlite, without tombstones,", items.count(), manifest.count),
    ):
        if count != expected:
            refuse(folder, f"{what} holds {count} rows", f"manifest.json says {expected}")
    if (list_sha256 := items.list_sha256()) != manifest.item_list_sha256:
        refuse(
            folder,
            f"the ids in items.sqlite have sha256 {list_sha256[:16]}",
            f"manifest.json says {manifest.item_list_sha256[:16]}",
        )


def refuse(folder: Path, found: str, expected: str) -> NoReturn:
    """Raise the one sentence that names the two things that differ."""
    place = re.sub(r".*/(?=galleries/)", "", folder.as_posix())
    raise damaged(f"{place}: {found} but {expected}")
