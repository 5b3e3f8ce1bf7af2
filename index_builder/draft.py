"""A gallery that is being built: a folder with a dot in front that no reader looks at.

Vectors of distinct contents are written once; a row points to the content it shows, so equal
pictures and equal captions get the same bits, and tie exactly.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.items import Item, Rejection, write_items
from index_builder.manifest import (
    GalleryKind,
    IndexKind,
    IndexRecord,
    Manifest,
    infer_columns,
    record_of_file,
)
from index_builder.thumbnails import ThumbnailWriter
from index_builder.vector_index import IndexRequest, RowFile, RowNumbers, Rows, build_vector_index
from model.durable import move_folder, sync_file
from model.errors import GalleryIndexError

__all__ = ["EncoderRecord", "GalleryDraft"]


@dataclass(frozen=True)
class EncoderRecord:
    """What a gallery remembers of the network that encoded it."""

    name: str
    fingerprint: str
    dim: int
    preprocessing: dict[str, Any]


class GalleryDraft:
    """Collects vectors, thumbnails and items, then becomes a gallery by one rename.

    Use as a context manager: what was not finished is removed.
    """

    def __init__(self, galleries: Path, kind: GalleryKind, encoder: EncoderRecord) -> None:
        """Make an empty draft beside the finished galleries."""
        self.kind: GalleryKind = kind
        self._galleries = galleries
        self._encoder = encoder
        self._folder = Path(tempfile.mkdtemp(prefix=f".{kind}-", dir=galleries))
        self._folder.chmod(0o755)
        self._distinct = (self._folder / "distinct.f32").open("w+b")
        self._distinct_count = 0
        self._thumbnails: ThumbnailWriter | None = None
        if kind == "images":
            self._thumbnails = ThumbnailWriter(self._folder / "thumbnails.sqlite")

    def __enter__(self) -> "GalleryDraft":
        """Return the draft itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was not finished."""
        self._distinct.close()
        if self._thumbnails is not None:
            self._thumbnails.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_vectors(self, vectors: Rows) -> None:
        """Append the unit vectors of the next distinct contents.

        Raises:
            GalleryIndexError: They are not unit rows of the encoder's dimension.
        """
        if vectors.ndim != 2 or vectors.shape[1] != self._encoder.dim:
            raise GalleryIndexError(
                f"{self._encoder.name} gave vectors of shape {vectors.shape} but says it is "
                f"{self._encoder.dim}-d; check the checkpoint"
            )
        lengths = np.linalg.norm(vectors, axis=1)
        if not np.allclose(lengths, 1.0, atol=1e-3):  # also false for NaN
            raise GalleryIndexError(
                f"{self._encoder.name} gave a vector of length "
                f"{lengths[np.argmax(np.abs(lengths - 1))]:.3g} instead of 1; check the checkpoint"
            )
        self._distinct.write(np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        self._distinct_count += len(vectors)

    def add_picture(self, content_hash: str, vector: Rows, thumbnail: bytes) -> None:
        """Append one distinct picture: its (1, dim) vector and its thumbnail.

        Raises:
            GalleryIndexError: The vector is not a unit row of the encoder's dimension.
        """
        self.add_vectors(vector)
        assert self._thumbnails is not None  # only a gallery of images has pictures
        self._thumbnails.add(content_hash, thumbnail)

    def finish(
        self,
        name: str,
        items: Sequence[Item],
        rejected: Sequence[Rejection],
        content_of_row: RowNumbers,
        *,
        index_kind: IndexKind = "exact",
        index: IndexRequest | None = None,
    ) -> Path:
        """Write everything, flush it, rename it into place, and return the finished folder.

        Args:
            name: `<kind>-<hash>`.
            items: In row order.
            rejected: Inputs that were set aside.
            content_of_row: For each row, which distinct content it shows.
            index_kind: Of the vector index.
            index: What else is asked of it.
        """
        index = index or IndexRequest()
        self._distinct.flush()
        write_items(self._folder / "items.sqlite", items, rejected)
        if self._thumbnails is not None:
            self._thumbnails.finish()
        built = build_vector_index(
            index_kind,
            self._vectors(content_of_row),
            folder=self._folder,
            target_recall=index.recall,
            factory=index.factory,
        )
        (self._folder / "tombstones").touch()
        self._distinct.close()
        (self._folder / "distinct.f32").unlink()
        manifest = self._manifest(name, items, len(rejected), built.record)
        manifest.write(self._folder / "manifest.json")
        for path in self._folder.iterdir():
            path.chmod(0o644)
            sync_file(path)
        folder = self._galleries / name
        move_folder(self._folder, folder)
        return folder

    def _vectors(self, content_of_row: RowNumbers) -> "_RowsByContent":
        shape = (self._distinct_count, self._encoder.dim)
        distinct = RowFile(self._folder / "distinct.f32", "<f4", shape)
        return _RowsByContent(distinct, content_of_row)

    def _manifest(
        self, name: str, items: Sequence[Item], rejected_count: int, index: IndexRecord
    ) -> Manifest:
        ids = hashlib.sha256()
        for item in items:
            ids.update(f"{item.id}\n".encode())
        return Manifest(
            schema_version=2,
            gallery=name,
            kind=self.kind,
            checkpoint_fingerprint=self._encoder.fingerprint,
            encoder=self._encoder.name,
            preprocessing=self._encoder.preprocessing,
            dim=self._encoder.dim,
            metric="inner_product",
            count=len(items),
            distinct_count=self._distinct_count,
            rejected_count=rejected_count,
            tombstone_count=0,
            item_list_sha256=ids.hexdigest(),
            columns=infer_columns(item.metadata for item in items),
            index=index,
            files={path.name: record_of_file(path) for path in sorted(self._folder.iterdir())},
            created_at=datetime.now(UTC),
        )


class _RowsByContent:
    """The vector of every row, where equal rows share one."""

    def __init__(self, distinct: RowFile, content_of_row: RowNumbers) -> None:
        self._distinct = distinct
        self._content_of_row = content_of_row
        self.shape = (len(content_of_row), distinct.shape[1])

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        return self._distinct[self._content_of_row[rows]]
