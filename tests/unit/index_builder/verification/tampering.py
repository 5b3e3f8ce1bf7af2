"""Damage that no hash tells of: files are changed, then everything that vouches for them is."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from index_builder.galleries.background import (
    BACKGROUND_FILE,
    Background,
    draw_background,
    read_background,
    write_background,
)
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import ItemStore
from index_builder.galleries.manifest import Manifest, record_of_file
from index_builder.galleries.tombstones import live_rows, read_tombstones
from index_builder.index_folder.versions import IndexFolder
from model.identifiers import sha256_of_file
from tests.unit.index_builder.written_galleries import rewrite_version


def refit(index: Path, folder: Path, **changes: Any) -> None:
    """Make sizes and hashes fit the files of a gallery: in its manifest, in the served version.

    Args:
        index: The index folder.
        folder: The gallery's.
        changes: What else the manifest is to say.
    """
    place = folder / "manifest.json"
    manifest = json.loads(place.read_text()) | changes
    manifest["files"] = {
        name: record_of_file(folder / name).model_dump() for name in manifest["files"]
    }
    if "item_list_sha256" not in changes:
        removed = read_tombstones(folder / "tombstones", manifest["row_count"]).tolist()
        items = ItemStore(folder / "items.sqlite", removed)
        manifest["item_list_sha256"] = items.list_sha256()
        items.close()
    Manifest.model_validate(manifest).write(place)
    version = IndexFolder(index).current()
    record = json.loads((index / "versions" / f"{version}.json").read_text())
    kind = manifest["kind"]
    record[kind]["manifest_sha256"] = sha256_of_file(place)
    rewrite_version(index, version, **{kind: record[kind]})


def two_unlike_rows(gallery: Gallery) -> tuple[int, int]:
    """Return the two rows whose vectors are furthest from each other."""
    vectors = gallery.vectors_of_rows(gallery.rows())
    cosines = vectors @ vectors.T
    first, second = np.unravel_index(int(cosines.argmin()), cosines.shape)
    assert cosines[first, second] < 0.99
    return int(first), int(second)


def swap_in_embeddings(folder: Path, dim: int, rows: tuple[int, int]) -> None:
    vectors = np.memmap(folder / "embeddings.f16", "<f2", "r+").reshape(-1, dim)
    vectors[list(rows)] = vectors[list(rows[::-1])]
    vectors.flush()


def swap_in_index(folder: Path, dim: int, rows: tuple[int, int]) -> None:
    path = str(folder / "index.faiss")
    index = faiss.read_index(path)
    lists = faiss.try_extract_index_ivf(index)
    if lists is None:
        flat = faiss.downcast_index(getattr(index, "storage", index))
        codes = faiss.rev_swig_ptr(flat.codes.data(), flat.codes.size()).reshape(flat.ntotal, -1)
        codes[list(rows)] = codes[list(rows[::-1])]
    else:
        for number in range(lists.nlist):
            ids = faiss.rev_swig_ptr(
                lists.invlists.get_ids(number), lists.invlists.list_size(number)
            )
            first, second = ids == rows[0], ids == rows[1]
            ids[first], ids[second] = rows[1], rows[0]
    faiss.write_index(index, path)


def redraw_background(folder: Path, dim: int, _: object = None) -> None:
    """Make the background sample fit what was changed in the other files."""
    vector_count = (folder / "embeddings.f16").stat().st_size // (2 * dim)
    removed = read_tombstones(folder / "tombstones", vector_count)
    background = draw_background(folder, dim, live_rows(removed, vector_count))
    write_background(folder / BACKGROUND_FILE, background)


def swap_in_background(folder: Path, dim: int, rows: tuple[int, int]) -> None:
    """Swap the first and the last row of the sample, whatever rows are asked for."""
    path = folder / BACKGROUND_FILE
    found = read_background(path, dim, 10**6)
    vectors = found.vectors.copy()
    vectors[[0, -1]] = vectors[[-1, 0]]
    write_background(path, Background(found.rows, vectors))


def swap_ids(folder: Path, dim: int, rows: tuple[int, int]) -> None:
    connection = sqlite3.connect(folder / "items.sqlite")
    (first,), (second,) = (
        connection.execute("SELECT id FROM items WHERE row = ?", (row,)).fetchone() for row in rows
    )
    for item_id, row in (("~", rows[0]), (first, rows[1]), (second, rows[0])):
        connection.execute("UPDATE items SET id = ? WHERE row = ?", (item_id, row))
    connection.commit()
    connection.close()


def flipped(path: Path, place: int, bits: int = 1) -> Callable[[], None]:
    """Flip bits of one byte of a file, and return what flips them back."""

    def flip() -> None:
        with path.open("r+b") as file:
            file.seek(place)
            byte = file.read(1)[0]
            file.seek(place)
            file.write(bytes([byte ^ bits]))

    flip()
    return flip
