"""A gallery that is made of another one: rows are appended, items replaced or removed.

What does not change is hard-linked; a file that must change is copied and then changed, or written
again. Rows keep their numbers, so nothing that is there is encoded or even moved. A file is hashed
before others are made of it, if opening did not: no new hash is put on damage.

    only tombstones                   tombstones and background.npy are written; everything else
                                      is linked, but for columns.sqlite if a column has another
                                      type without them
    other metadata, other captions' pictures, more rejections        + items.sqlite, and what is
                                      made of it: columns.sqlite, and words.sqlite of captions
    new or changed pictures or texts  + index.faiss, embeddings.f16, and thumbnails.sqlite
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.galleries.background import BACKGROUND_FILE, draw_background, write_background
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item, ItemStore
from index_builder.galleries.manifest import (
    ColumnType,
    ColumnTypes,
    FileRecord,
    IndexRecord,
    Manifest,
    record_of_file,
)
from index_builder.galleries.thumbnails import ThumbnailWriter
from index_builder.galleries.tombstones import live_rows, read_tombstones, write_tombstones
from index_builder.lookups.lookup_files import lookup_files, write_lookups
from index_builder.sources.entries import Rejection
from index_builder.vector_index import (
    AllowedRows,
    Rows,
    TuningQueries,
    extend_vector_index,
    open_vector_index,
    tuned_record,
)
from index_builder.writing.item_writing import ItemChanger
from index_builder.writing.row_vectors import RowVectorsWriter
from model.durable import move_folder, sync_file

__all__ = ["ChangeDraft"]


class ChangeDraft:
    """Takes changes, then becomes a gallery by one rename.

    Use as a context manager: what was not finished is removed.

    Args:
        folder: To be made, on the disk of the galleries.
        before: The gallery to change; stays as it is.
    """

    def __init__(self, folder: Path, before: Gallery) -> None:
        self._folder = folder
        self._before = before
        folder.mkdir()
        self._removed: list[npt.NDArray[np.int64]] = []
        self._items: ItemChanger | None = None
        self._thumbnails: ThumbnailWriter | None = None
        self._vectors = RowVectorsWriter(folder, before.dim)

    def __enter__(self) -> "ChangeDraft":
        """Return the draft itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what was not finished."""
        self._vectors.close()
        for file in (self._items, self._thumbnails):
            if file is not None:
                file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def remove(self, rows: Sequence[int]) -> None:
        """Remove the items of some rows."""
        self._removed.append(np.array(rows, dtype=np.int64))

    def update(self, items: Iterable[Item]) -> None:
        """Replace items of the same ids, rows and contents."""
        self._item_changer().replace(items)

    def add_contents(
        self, vectors: Rows, thumbnails: Iterable[tuple[str, bytes | None]] = ()
    ) -> None:
        """Append the next distinct contents that rows to come may show.

        Args:
            vectors: (content, dim), unit rows.
            thumbnails: The hash and the thumbnail of those that are pictures.
        """
        self._vectors.add_contents(vectors)
        for content_hash, thumbnail in thumbnails:
            if thumbnail is None or self._before.thumbnail_of_content(content_hash) is not None:
                continue
            self._thumbnail_writer().add(content_hash, thumbnail)

    def add_display_copies(self, copies: Iterable[tuple[str, bytes]]) -> None:
        """Append JPEGs for display with the hashes of their contents, those that are not there."""
        for content_hash, content in copies:
            if self._before.display_copy_of_content(content_hash) is None:
                self._thumbnail_writer().add_display_copy(content_hash, content)

    def append(self, items: Iterable[Item], contents: npt.NDArray[np.int64]) -> None:
        """Append items behind the last row; a removed item's id may come again.

        Args:
            items: Their rows go on from those before.
            contents: (item,), which of `add_contents` each of them shows.
        """
        self._item_changer().replace(items)
        self._vectors.add_rows(contents)

    def replace_rejections(self, places: Iterable[str], rejections: Iterable[Rejection]) -> None:
        """Note what was set aside of these places, instead of what was noted about them before."""
        self._item_changer().replace_rejections(places, rejections)

    def finish(self, folder: Path, *, queries: TuningQueries | None = None) -> Path:
        """Write everything, flush it, rename it to `folder`, and return that.

        Args:
            folder: `<kind>-<hash>`.
            queries: What the vector index is tuned and measured with; None takes points between
                rows.

        Raises:
            GalleryIndexError: A file of the gallery before, which another is made of, is damaged.
        """
        before = self._before
        row_count = before.row_count + self._vectors.row_count
        earlier = read_tombstones(before.folder / "tombstones", before.row_count)
        removed = np.unique(np.concatenate([earlier, *self._removed]))
        live = live_rows(removed, row_count)
        write_tombstones(self._folder / "tombstones", removed)
        index = self._finish_index(queries, live, has_removed=len(removed) > len(earlier))
        self._vectors.remove()
        if self._items is not None:
            self._items.finish(removed.tolist())
        if self._thumbnails is not None:
            self._thumbnails.finish()
        self._finish_background(live, removed, has_removed=len(removed) > len(earlier))
        facts = self._facts(removed.tolist())
        self._finish_lookups(facts["columns"])
        files = {name: self._finish_file(name) for name in before.manifest.files}
        counts = {"row_count": row_count, "tombstone_count": len(removed)}
        changed = {"gallery": folder.name, "index": index, "files": files, **counts}
        manifest = before.manifest.model_dump() | changed | facts
        manifest |= {"count": row_count - len(removed), "created_at": datetime.now(UTC)}
        Manifest.model_validate(manifest).write(self._folder / "manifest.json")
        for name in ("manifest.json", *files):
            sync_file(self._folder / name)
        move_folder(self._folder, folder)
        return folder

    def _finish_index(
        self, queries: TuningQueries | None, live: AllowedRows | None, *, has_removed: bool
    ) -> IndexRecord:
        before, record = self._before, self._before.manifest.index
        path = before.folder / "index.faiss"
        if not self._vectors.row_count and not has_removed:
            return record
        # A second one: its search is tuned, and that of the open gallery must not change.
        index = open_vector_index(before.folder, before.manifest)
        if self._vectors.row_count:
            for name in ("index.faiss", "embeddings.f16"):
                before.check_file(name)
            return extend_vector_index(
                index,
                record,
                path,
                self._vectors.finish(),
                folder=self._folder,
                queries=queries,
                live=live,
            ).record
        return tuned_record(
            index,
            path,
            factory=record.factory,
            target_recall=record.target_recall,
            queries=queries,
            live=live,
        )

    def _finish_background(
        self, live: AllowedRows | None, removed: npt.NDArray[np.int64], *, has_removed: bool
    ) -> None:
        """Draw the sample again where there are new rows; else take out what was removed."""
        before = self._before
        if self._vectors.row_count:
            background = draw_background(self._folder, before.dim, live)
        elif has_removed:
            before.check_file(BACKGROUND_FILE)
            background = before.background.without(removed)
        else:
            return  # it is linked
        write_background(self._folder / BACKGROUND_FILE, background)

    def _finish_file(self, name: str) -> FileRecord:
        path = self._folder / name
        if path.exists():
            path.chmod(0o644)
            return record_of_file(path)
        source = self._before.folder / name
        try:
            os.link(source, path)
        except OSError:  # a disk without hard links, or with too many to this file
            shutil.copyfile(source, path)
        return self._before.manifest.files[name]

    def _finish_lookups(self, columns: Mapping[str, ColumnType]) -> None:
        """Write what is made of `items.sqlite`, where that or the types of columns changed."""
        before = self._before
        names = lookup_files(before.kind)
        if self._items is None:
            if list(columns.items()) == list(before.manifest.columns.items()):
                return
            before.check_file("items.sqlite")
            names = ("columns.sqlite",)
        write_lookups(self._folder, names, items_path=self._items_path(), columns=columns)

    def _items_path(self) -> Path:
        """Return where the items lie that the gallery will have."""
        return (self._before.folder if self._items is None else self._folder) / "items.sqlite"

    def _facts(self, removed: Sequence[int]) -> dict[str, Any]:
        """Return what the manifest says about the items, read once more from the file."""
        items = ItemStore(self._items_path(), removed)
        try:
            columns = ColumnTypes()
            for _, metadata in items.metadata():
                columns.add(metadata)
            return {
                "item_list_sha256": items.list_sha256(),
                "distinct_count": items.distinct_count(),
                "rejected_count": items.rejected_count(),
                "columns": columns.types(),
            }
        finally:
            items.close()

    def _item_changer(self) -> ItemChanger:
        if self._items is None:
            self._items = ItemChanger(self._copied("items.sqlite"))
        return self._items

    def _thumbnail_writer(self) -> ThumbnailWriter:
        if self._thumbnails is None:
            self._thumbnails = ThumbnailWriter(self._copied("thumbnails.sqlite"))
        return self._thumbnails

    def _copied(self, name: str) -> Path:
        self._before.check_file(name)
        return Path(shutil.copyfile(self._before.folder / name, self._folder / name))
