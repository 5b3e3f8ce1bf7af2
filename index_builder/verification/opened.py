"""A gallery whose files are sound, opened without the checks that stop at the first fault."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.immutable_file import open_immutable
from index_builder.galleries.items import ItemStore
from index_builder.galleries.manifest import Manifest
from index_builder.vector_index import RowFile, VectorIndex
from index_builder.vector_index.reranked import RerankedIndex
from model.errors import GalleryIndexError

__all__ = ["OpenedGallery", "open_gallery"]


@dataclass(frozen=True, eq=False)
class OpenedGallery:
    """What the checks of a gallery look at.

    Attributes:
        gallery: As a service would open it.
        vector_files: The files that hold a vector of every row, by name; `embeddings.f16` first.
    """

    gallery: Gallery
    vector_files: dict[str, RowFile]

    @property
    def place(self) -> str:
        """Where it lies, below the index folder."""
        return f"galleries/{self.gallery.folder.name}"

    @property
    def advice(self) -> str:
        """What to do about a problem."""
        return f"use `python -m index_builder rollback`, or delete {self.place} and build again"

    @property
    def index(self) -> VectorIndex:
        """Its vector index."""
        return self.gallery.index

    @property
    def items(self) -> ItemStore:
        """Its items."""
        return self.gallery.item_store

    @property
    def faiss_index(self) -> Any:
        """What lies in `index.faiss` of a kind that is not exact."""
        assert isinstance(self.index, RerankedIndex)
        return self.index.faiss_index

    def live(self, columns: str, order: str = "row") -> Iterator[tuple[Any, ...]]:
        """Yield columns of every item that was not removed, one at a time.

        Args:
            columns: Of `items.sqlite`; the first must be `row`.
            order: What an index of that file has in order, so that nothing is sorted.
        """
        live = self.gallery.live
        with self.reading() as connection:
            for found in connection.execute(f"SELECT {columns} FROM items ORDER BY {order}"):
                if live is None or (found[0] < len(live) and live[found[0]]):
                    yield found

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection of its own to `items.sqlite`."""
        connection = open_immutable(self.gallery.folder / "items.sqlite")
        try:
            yield connection
        finally:
            connection.close()


def open_gallery(folder: Path, manifest: Manifest, images_root: Path | None) -> OpenedGallery:
    """Open a gallery whose every file is what its manifest says.

    Raises:
        GalleryIndexError: A file does not hold what files of its name hold.
    """
    size = (folder / "embeddings.f16").stat().st_size
    expected = 2 * manifest.row_count * manifest.dim
    if size != expected:
        raise GalleryIndexError(
            f"galleries/{folder.name}: embeddings.f16 has {size:,} bytes but the rows of "
            f"manifest.json take {expected:,}; build the index again"
        )
    gallery = Gallery.of_files(folder, manifest, images_root=images_root)
    return OpenedGallery(gallery, _vector_files(folder, manifest))


def _vector_files(folder: Path, manifest: Manifest) -> dict[str, RowFile]:
    shape = manifest.row_count, manifest.dim
    files = {"embeddings.f16": RowFile(folder / "embeddings.f16", "<f2", shape)}
    if manifest.index.kind == "exact":
        # The vectors end the file of a flat index. Read like this they take no memory.
        path = folder / "index.faiss"
        offset = path.stat().st_size - 4 * shape[0] * shape[1]
        files[path.name] = RowFile(path, "<f4", shape, offset)
    return files
