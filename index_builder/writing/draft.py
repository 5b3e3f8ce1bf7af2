"""A gallery that is being put together: a folder that no reader looks at, filled from front to end.

Nothing is kept in memory but what building the vector index takes.
"""

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.galleries.background import BACKGROUND_FILE, draw_background, write_background
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import (
    ColumnTypes,
    GalleryKind,
    IndexKind,
    IndexRecord,
    Manifest,
    record_of_file,
)
from index_builder.galleries.thumbnails import ThumbnailWriter
from index_builder.galleries.tombstones import write_tombstones
from index_builder.lookups.lookup_files import lookup_files, write_lookups
from index_builder.sources.entries import Rejection
from index_builder.vector_index import (
    IndexRequest,
    Rows,
    TuningQueries,
    build_vector_index,
)
from index_builder.writing.item_writing import ItemWriter
from index_builder.writing.row_vectors import RowVectorsWriter
from model.durable import move_folder, sync_file
from model.precision import Precision

__all__ = ["EncoderRecord", "GalleryDraft"]


@dataclass(frozen=True)
class EncoderRecord:
    """What a gallery remembers of the network that encoded it."""

    name: str
    fingerprint: str
    dim: int
    preprocessing: dict[str, Any]
    precision: Precision


class GalleryDraft:
    """Takes contents and items in their order, then becomes a gallery by one rename.

    Use as a context manager: what was not finished is removed.

    Args:
        folder: To be made, on the disk of the galleries.
        kind: Images or captions.
        encoder: What made the vectors.
    """

    def __init__(self, folder: Path, kind: GalleryKind, encoder: EncoderRecord) -> None:
        self.kind: GalleryKind = kind
        self._folder = folder
        self._encoder = encoder
        folder.mkdir()
        self._vectors = RowVectorsWriter(folder, encoder.dim)
        self._ids = hashlib.sha256()
        self._columns = ColumnTypes()
        self._items = ItemWriter(folder / "items.sqlite")
        self._rejected_count = 0
        self._thumbnails: ThumbnailWriter | None = None
        if kind == "images":
            self._thumbnails = ThumbnailWriter(folder / "thumbnails.sqlite")

    def __enter__(self) -> "GalleryDraft":
        """Return the draft itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was not finished."""
        self._close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_contents(
        self, vectors: Rows, thumbnails: Iterable[tuple[str, bytes | None]] = ()
    ) -> None:
        """Append the next distinct contents.

        Args:
            vectors: (content, dim), unit rows.
            thumbnails: The hash and the thumbnail of those that are pictures.
        """
        self._vectors.add_contents(vectors)
        for content_hash, thumbnail in thumbnails:
            if self._thumbnails is not None and thumbnail is not None:
                self._thumbnails.add(content_hash, thumbnail)

    def add_display_copies(self, copies: Iterable[tuple[str, bytes]]) -> None:
        """Append JPEGs for display with the hashes of their contents; of equal ones one is kept."""
        for content_hash, content in copies:
            if self._thumbnails is not None:
                self._thumbnails.add_display_copy(content_hash, content)

    def add_items(self, items: Iterable[Item], contents: npt.NDArray[np.int64]) -> None:
        """Append the next items, in row order.

        Args:
            items: Their rows go on from those before.
            contents: (item,), which distinct content each of them shows.
        """
        self._items.add(self._noted(items))
        self._vectors.add_rows(contents)

    def add_rejections(self, rejections: Iterable[Rejection]) -> None:
        """Append inputs that were set aside."""
        self._items.reject(self._counted(rejections))

    def finish(
        self,
        folder: Path,
        *,
        index_kind: IndexKind = "exact",
        index: IndexRequest | None = None,
        queries: TuningQueries | None = None,
    ) -> Path:
        """Write everything, flush it, rename it to `folder`, and return that.

        Args:
            folder: `<kind>-<hash>`.
            index_kind: Of the vector index.
            index: What else is asked of it.
            queries: What it is tuned and measured with; None takes points between rows.

        Raises:
            ConfigError: The vector index cannot be built.
        """
        index = index or IndexRequest()
        self._items.finish()
        write_lookups(
            self._folder,
            lookup_files(self.kind),
            items_path=self._folder / "items.sqlite",
            columns=self._columns.types(),
        )
        if self._thumbnails is not None:
            self._thumbnails.finish()
        built = build_vector_index(
            index_kind,
            self._vectors.finish(),
            folder=self._folder,
            queries=queries,
            target_recall=index.recall,
            factory=index.factory,
        )
        self._vectors.remove()
        background = draw_background(self._folder, self._encoder.dim)
        write_background(self._folder / BACKGROUND_FILE, background)
        write_tombstones(self._folder / "tombstones", np.empty(0, dtype=np.int64))
        self._manifest(folder.name, built.record).write(self._folder / "manifest.json")
        for path in self._folder.iterdir():
            path.chmod(0o644)
            sync_file(path)
        move_folder(self._folder, folder)
        return folder

    def _noted(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            self._ids.update(f"{item.id}\n".encode())
            self._columns.add(item.metadata)
            yield item

    def _counted(self, rejections: Iterable[Rejection]) -> Iterator[Rejection]:
        for rejection in rejections:
            self._rejected_count += 1
            yield rejection

    def _close(self) -> None:
        self._vectors.close()
        self._items.close()
        if self._thumbnails is not None:
            self._thumbnails.close()

    def _manifest(self, name: str, index: IndexRecord) -> Manifest:
        return Manifest(
            schema_version=4,
            gallery=name,
            kind=self.kind,
            checkpoint_fingerprint=self._encoder.fingerprint,
            encoder=self._encoder.name,
            precision=self._encoder.precision,
            preprocessing=self._encoder.preprocessing,
            dim=self._encoder.dim,
            metric="inner_product",
            count=self._vectors.row_count,
            row_count=self._vectors.row_count,
            distinct_count=self._vectors.content_count,
            rejected_count=self._rejected_count,
            tombstone_count=0,
            item_list_sha256=self._ids.hexdigest(),
            columns=self._columns.types(),
            index=index,
            files={path.name: record_of_file(path) for path in sorted(self._folder.iterdir())},
            created_at=datetime.now(UTC),
        )
