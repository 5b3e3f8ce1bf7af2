"""Files that a record vouches for: what lies in a folder is compared with what it says."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from index_builder.galleries.manifest import FileRecord, record_of_file

__all__ = ["file_faults", "files_below", "records_of_files"]


def files_below(folder: Path) -> dict[str, Path]:
    """Return every file in a folder and the folders in it, by its posix name there, sorted."""
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in sorted(found)}


def records_of_files(folder: Path) -> dict[str, FileRecord]:
    """Return size and hash of every file below a folder."""
    return {name: record_of_file(path) for name, path in files_below(folder).items()}


def file_faults(
    folder: Path, records: Mapping[str, FileRecord], *, place: str, said_by: str
) -> Iterator[tuple[str, str]]:
    """Yield name and fault of each file that is missing, too many, or not as its record says.

    Every file is read to its end, unless its size is another one already.

    Args:
        folder: Where they lie.
        records: What is expected, by name.
        place: The folder, for sentences.
        said_by: What holds the records, for sentences.
    """
    found = files_below(folder)
    for name, record in records.items():
        path = found.get(name)
        if path is None or not path.is_file():
            yield name, f"{place}/{name} is missing"
            continue
        size = path.stat().st_size
        if size != record.size_bytes:
            yield name, f"{place}/{name} has {size} bytes but {said_by} says {record.size_bytes}"
        elif (sha256 := record_of_file(path).sha256) != record.sha256:
            yield (
                name,
                f"{place}/{name} has sha256 {sha256[:16]} but {said_by} says {record.sha256[:16]}",
            )
    for name in sorted(found.keys() - records.keys()):
        yield name, f"{place}/{name} is not known to {said_by}"
