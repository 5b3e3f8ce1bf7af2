"""Gallery: what the service opens. Vectors, items and thumbnails of one kind, read-only.

Opening compares everything in the manifest with what lies in the folder and refuses, naming the
two things that differ. Safe to use from several threads.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from index_builder.galleries.background import BACKGROUND_FILE, Background, read_background
from index_builder.galleries.calibration import calibrate
from index_builder.galleries.gallery_files import (
    check_files,
    check_hash,
    check_rows,
    is_hashed_on_opening,
    refuse,
)
from index_builder.galleries.items import Item, ItemStore
from index_builder.galleries.manifest import GalleryKind, Manifest, parse_record
from index_builder.galleries.thumbnails import ThumbnailStore
from index_builder.galleries.tombstones import live_rows, read_tombstones
from index_builder.lookups.column_store import ColumnStore, ColumnSummary
from index_builder.lookups.filter_masks import FilterMasks
from index_builder.lookups.filters import Filter
from index_builder.lookups.word_store import WordHit, WordStore
from index_builder.sources.entries import Rejection
from index_builder.vector_index import (
    AllowedRows,
    FoundRows,
    RowMask,
    RowNumbers,
    Rows,
    VectorIndex,
    exact_scores,
    open_vector_index,
)
from model.errors import GalleryIndexError

__all__ = ["MAX_HIT_COUNT", "Gallery", "Hit"]

MAX_HIT_COUNT = 1000


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer to a query.

    Attributes:
        item_id: The image or caption.
        row: Its row; ties in score are ordered by it.
        score: float32(float64 dot product) of the query with the stored vector, which is float32
            in the exact kind and float16 in the others; the cosine for a unit query.
        rank: From 1, the offset included.
    """

    item_id: str
    row: int
    score: float
    rank: int


class Gallery:
    """One gallery of an open index.

    Attributes:
        folder: Where it lies.
        manifest: What it was built from and holds.
        images_root: Where the pictures lie now; None for captions.
        live: (row,), False where an item was removed; None where none was.
        index: The vector index, over all rows.
        item_store: The items that were not removed.
        background: Some rows and their vectors, against which queries are held.
        calibration: Tells whether a query of this kind fits; None where the items are too few.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        *,
        index: VectorIndex,
        items: ItemStore,
        columns: ColumnStore,
        words: WordStore | None,
        thumbnails: ThumbnailStore | None,
        images_root: Path | None,
        background: Background,
        live: AllowedRows | None = None,
    ) -> None:
        """Put together the parts of a gallery; `Gallery.open` checks and calls this."""
        self.folder = folder
        self.manifest = manifest
        self.images_root = images_root
        self.live = live
        self._live_mask = RowMask.of(live, manifest.row_count)
        self.index = index
        self.item_store = items
        self._columns = columns
        self._filters = FilterMasks(columns, manifest, live)
        self._words = words
        self.background = background
        self.calibration = calibrate(background)
        self._thumbnails = thumbnails
        self._checked_files = {
            name for name, record in manifest.files.items() if is_hashed_on_opening(record)
        }

    @classmethod
    def open(
        cls, folder: Path, *, images_root: Path | None = None, device: str = "cpu"
    ) -> "Gallery":
        """Return the gallery in `folder`.

        Args:
            folder: Where it lies.
            images_root: Where the pictures lie now.
            device: Where vectors are compared: cpu, or a GPU of torch.

        Raises:
            GalleryIndexError: Something is missing or does not match the manifest.
        """
        manifest = parse_record(Manifest, folder / "manifest.json")
        if manifest.gallery != folder.name:
            refuse(folder, f"manifest.json says {manifest.gallery!r}", f"lies in {folder.name!r}")
        check_files(folder, manifest)
        opened = cls.of_files(folder, manifest, images_root=images_root, device=device)
        with ExitStack() as refused:
            refused.callback(opened.close)
            check_rows(folder, manifest, opened.item_store, opened.removed_count)
            refused.pop_all()
        return opened

    @classmethod
    def of_files(
        cls, folder: Path, manifest: Manifest, *, images_root: Path | None, device: str = "cpu"
    ) -> "Gallery":
        """Return a gallery of files that its manifest was compared with; `open` does both.

        Raises:
            GalleryIndexError: A file does not hold what files of its name hold.
        """
        index = open_vector_index(folder, manifest, device=device)
        removed = read_tombstones(folder / "tombstones", manifest.row_count)
        background = read_background(folder / BACKGROUND_FILE, manifest.dim, manifest.row_count)
        with ExitStack() as refused:
            items = ItemStore(folder / "items.sqlite", removed.tolist())
            refused.callback(items.close)
            columns = ColumnStore(folder / "columns.sqlite", manifest.row_count)
            refused.callback(columns.close)
            words = None
            if manifest.kind == "captions":
                words = WordStore(folder / "words.sqlite", manifest.row_count)
                refused.callback(words.close)
            thumbnails = None
            if manifest.kind == "images":
                thumbnails = ThumbnailStore(folder / "thumbnails.sqlite")
                refused.callback(thumbnails.close)
            opened = cls(
                folder,
                manifest,
                index=index,
                items=items,
                columns=columns,
                words=words,
                thumbnails=thumbnails,
                images_root=images_root,
                background=background,
                live=live_rows(removed, manifest.row_count),
            )
            refused.pop_all()
        return opened

    @property
    def kind(self) -> GalleryKind:
        """`images` or `captions`."""
        return self.manifest.kind

    @property
    def count(self) -> int:
        """Number of items that can be found."""
        return self.manifest.count

    @property
    def row_count(self) -> int:
        """Number of rows, those of removed items included."""
        return self.manifest.row_count

    @property
    def removed_count(self) -> int:
        """Number of rows whose items were removed."""
        return 0 if self.live is None else len(self.live) - int(np.count_nonzero(self.live))

    @property
    def dim(self) -> int:
        """Size of an embedding."""
        return self.manifest.dim

    def search(
        self,
        queries: Rows,
        limit: int,
        offset: int = 0,
        *,
        allowed: AllowedRows | RowMask | None = None,
    ) -> list[list[Hit]]:
        """Return for each query the hits of ranks `offset + 1` to `offset + limit`.

        Args:
            queries: (query, dim), float32, finite.
            limit: At least 1; fewer hits come back where the gallery ends.
            offset: At least 0, with `limit + offset <= 1000`.
            allowed: (row,), False where a row must not be found, or a mask of them; None allows
                every row but those of removed items, which are never found.

        Raises:
            GalleryIndexError: The queries have another width, or limit and offset are out of range.
        """
        if limit < 1 or offset < 0 or limit + offset > MAX_HIT_COUNT:
            raise GalleryIndexError(
                f"limit {limit} and offset {offset} are out of range; use limit >= 1, offset >= 0 "
                f"and at most {MAX_HIT_COUNT} together"
            )
        found = self.find_rows(queries, limit + offset, allowed=allowed)
        pages = [(answer.rows[offset:], answer.scores[offset:]) for answer in found]
        ids = self.item_store.ids_of_rows({int(row) for rows, _ in pages for row in rows})
        return [
            [
                Hit(ids[int(row)], int(row), float(score), rank)
                for rank, (row, score) in enumerate(zip(rows, scores, strict=True), offset + 1)
            ]
            for rows, scores in pages
        ]

    def find_rows(
        self, queries: Rows, wanted_count: int, *, allowed: AllowedRows | RowMask | None = None
    ) -> list[FoundRows]:
        """Return the rows that `search` would find, without a look at their items.

        Args:
            queries: (query, dim), float32, finite.
            wanted_count: 1 to 1000; fewer rows come back where the gallery ends.
            allowed: As in `search`.

        Raises:
            GalleryIndexError: The queries have another width, or the count is out of range.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise GalleryIndexError(
                f"the queries have shape {queries.shape} but this gallery is {self.dim}-d; "
                "encode them with the checkpoint of the index"
            )
        if not np.isfinite(queries).all():
            raise GalleryIndexError("a query holds NaN or infinity; encode it again")
        if not 1 <= wanted_count <= MAX_HIT_COUNT:
            raise GalleryIndexError(f"{wanted_count} rows are wanted; ask for 1 to {MAX_HIT_COUNT}")
        if len(queries) == 0:
            return []
        mask = self._live_mask if allowed is None else self._without_removed(allowed)
        return self.index.search(queries, wanted_count, allowed=mask)

    def scores_of_rows(self, query: Rows, rows: RowNumbers) -> Rows:
        """Return (row,), the scores of some rows with a query (dim,), as `search` gives them."""
        return exact_scores(query, self.index.vectors, rows)

    def matching(self, wanted: Filter | None) -> RowMask | None:
        """Return the rows that a filter fits, as `search` takes them; None = all of them.

        Rows of removed items are never among them. Masks of the last filters are kept, so the
        pages of one search cost one.

        Raises:
            FilterError: The filter names what the gallery has not; tells all of it.
        """
        return None if wanted is None else self._filters.mask(wanted)

    def column_summaries(self, *, most_values: int) -> dict[str, ColumnSummary]:
        """Return what the items have in each column that filters take.

        Args:
            most_values: A column of texts with more different values has none of them listed.
        """
        return self._columns.summaries(self.live, most_values=most_values)

    def captions_matching(
        self, text: str, limit: int, allowed: RowMask | None = None
    ) -> list[WordHit]:
        """Return the captions with any word of a text, best first, ties by row.

        Args:
            text: Anything; without words nothing is found.
            limit: How many are wanted at most.
            allowed: Rows that may be found; None = all.

        Raises:
            GalleryIndexError: This is no gallery of captions.
        """
        if self._words is None:
            raise GalleryIndexError(f"a gallery of {self.kind} has no texts to look words up in")
        mask = self._live_mask if allowed is None else self._without_removed(allowed)
        return self._words.matching(text, limit, None if mask is None else mask.allowed)

    def image_ids_of_rows(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the picture that the caption of each row names, of those that name one."""
        return self.item_store.image_ids_of_rows(rows)

    def item(self, item_id: str) -> Item | None:
        """Return one item, or None if there is no such id."""
        return self.item_store.items([item_id]).get(item_id)

    def items(self, ids: Sequence[str]) -> dict[str, Item]:
        """Return the items of `ids` by id in the order asked; unknown ids are left out."""
        return self.item_store.items(ids)

    def ids_of_paths(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the id of each path that a picture of this gallery has."""
        return self.item_store.ids_of_paths(paths)

    def rejected(self) -> Iterator[Rejection]:
        """Yield the inputs that were set aside when this gallery was built."""
        return self.item_store.rejected()

    def vectors(self, ids: Sequence[str]) -> Rows:
        """Return (item, dim), the stored vectors in float32 in the order asked.

        Raises:
            GalleryIndexError: An id is unknown.
        """
        rows = self.item_store.rows_of_ids(ids)
        if unknown := [item_id for item_id in ids if item_id not in rows]:
            raise GalleryIndexError(f"no item {unknown[0]!r} in the {self.kind} gallery")
        return self.vectors_of_rows(np.array([rows[item_id] for item_id in ids], dtype=np.int64))

    def vectors_of_rows(self, rows: npt.NDArray[np.int64]) -> Rows:
        """Return (row, dim), the stored vectors of some rows in float32, in the order asked."""
        return self.index.vectors_of(rows)

    def sample_vectors(self, wanted_count: int) -> Rows:
        """Return (item, dim), stored vectors drawn without replacement; the same at every call."""
        rows = self.rows()
        drawn = np.random.default_rng(0).permutation(len(rows))[:wanted_count]
        return self.vectors_of_rows(rows[np.sort(drawn)])

    def rows(self) -> npt.NDArray[np.int64]:
        """Return the row of every item, ascending."""
        return np.arange(self.row_count) if self.live is None else np.flatnonzero(self.live)

    def rows_of_ids(self, ids: Sequence[str]) -> dict[str, int]:
        """Return the row of each id that there is."""
        return self.item_store.rows_of_ids(ids)

    def ids_of_rows(self, rows: Sequence[int]) -> dict[int, str]:
        """Return the id of each row."""
        return self.item_store.ids_of_rows(rows)

    def items_at(self, rows: Iterable[int]) -> dict[int, Item]:
        """Return the items of some rows, by row; those of removed ones are left out."""
        return self.item_store.items_at(rows)

    def rows_naming(self, image_ids: Iterable[str]) -> list[tuple[str, int]]:
        """Return the captions that name one of these images, as (image_id, row)."""
        return self.item_store.rows_naming(image_ids)

    def items_of_rows(self, start: int, stop: int) -> list[Item]:
        """Return the items from row `start` to before row `stop`, in order."""
        return self.item_store.items_of_rows(start, stop)

    def thumbnail_of_content(self, content_hash: str) -> bytes | None:
        """Return the JPEG thumbnail of a picture's content, or None."""
        return None if self._thumbnails is None else self._thumbnails.read(content_hash)

    def thumbnail(self, item_id: str) -> bytes | None:
        """Return the JPEG thumbnail of an image, or None if there is no such image."""
        item = self.item(item_id)
        return None if item is None else self.thumbnail_of_content(item.content_hash)

    def display_copy_of_content(self, content_hash: str) -> bytes | None:
        """Return the JPEG for display of a picture's content, or None."""
        return (
            None if self._thumbnails is None else self._thumbnails.read_display_copy(content_hash)
        )

    def check_file(self, name: str) -> None:
        """Refuse a file whose bytes are not those that the manifest vouches for.

        To be asked before another file is made of it, which would be vouched for in its turn. A
        file that was hashed when the gallery was opened, or here before, is not read again.

        Raises:
            GalleryIndexError: Its sha256 is another.
        """
        if name not in self._checked_files:
            check_hash(self.folder, name, self.manifest.files[name])
            self._checked_files.add(name)

    def _without_removed(self, allowed: AllowedRows | RowMask) -> RowMask:
        """Return a mask without the rows of removed items; itself if it has none of them."""
        mask = allowed if isinstance(allowed, RowMask) else RowMask(allowed, self.row_count)
        if self.live is None or not (mask.allowed > self.live).any():
            return mask
        return RowMask(mask.allowed & self.live, self.row_count)

    def close(self) -> None:
        """Close the files; the gallery must not be used afterwards."""
        self.item_store.close()
        self._columns.close()
        if self._words is not None:
            self._words.close()
        if self._thumbnails is not None:
            self._thumbnails.close()
