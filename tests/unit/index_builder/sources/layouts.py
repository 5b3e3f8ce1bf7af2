"""Write the same items in every form that a source can have."""

import csv
import io
import json
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet

from index_builder.sources.entries import Rejection


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(_cell(value) for value in row.values())
    return path


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def write_table(path, rows):
    return {".jsonl": write_lines, ".csv": write_csv, ".parquet": write_parquet}[path.suffix](
        path, rows
    )


def write_tar(path, members):
    """Write a shard; `members` are (name, bytes) or (name, bytes, type of the member)."""
    with tarfile.open(path, "w") as tar:
        for name, content, *kind in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            if kind:
                (info.type,) = kind
                info.linkname = "/etc/hostname"
            tar.addfile(info, io.BytesIO(content))
    return path


def write_samples(folder: Path, rows, *, shard_count=2):
    """Write pictures (rows with a `path` below `folder`) as shards and return their folder."""
    shards = folder.parent / "shards"
    shards.mkdir()
    for number in range(shard_count):
        members = []
        for place in range(
            number * len(rows) // shard_count, (number + 1) * len(rows) // shard_count
        ):
            path = Path(rows[place]["path"])
            values = {name: value for name, value in rows[place].items() if name != "path"}
            members += [
                (f"{place:04d}{path.suffix}", (folder / path).read_bytes()),
                (f"{place:04d}.json", json.dumps(values).encode()),
            ]
        write_tar(shards / f"part-{number:03d}.tar", members)
    return shards


def read_entry(source, entry):
    """`source.read(entry)`, for other processes."""
    return source.read(entry)


def listed(source):
    """Return what a source names, and what it set aside."""
    found = list(source.entries())
    entries = [one for one in found if not isinstance(one, Rejection)]
    return entries, [one for one in found if isinstance(one, Rejection)]


def _cell(value):
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, list | bool) else value
