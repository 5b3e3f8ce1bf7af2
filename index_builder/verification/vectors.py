"""All vectors of a gallery: their lengths, and `embeddings.f16` against the other files."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from index_builder.galleries.background import BACKGROUND_FILE
from index_builder.vector_index import RowFile, RowNumbers
from index_builder.vector_index.stored_rows import blocks_of
from index_builder.verification.decoding import CannotDecodeError, decoded_blocks
from index_builder.verification.findings import Check, Found
from index_builder.verification.opened import OpenedGallery
from model.console import progress

__all__ = ["check_agreement", "check_background", "check_lengths"]

# Rounding to float16 changes each number, and so the length, by at most 2^-11 of it.
_LENGTH_TOLERANCE = 1e-3
# A row that the index decodes lies about as far from its stored vector as the others do.
_TIMES_MEDIAN, _AND_MORE = 8.0, 1e-3
# Two unit vectors that have nothing to do with each other are about 1.4 apart.
_APART = 1.0
_KEPT_COUNT = 10_000


def check_lengths(opened: OpenedGallery, check: Check) -> None:
    """Find vectors that are not of length 1, NaN and infinity included."""
    manifest = opened.gallery.manifest
    for name, vectors in opened.vector_files.items():
        wrong = Found()
        for start, block in blocks_of(vectors):
            lengths = np.linalg.norm(block.astype(np.float32), axis=1)
            is_unit = np.abs(lengths - 1) <= _LENGTH_TOLERANCE
            wrong.add((np.flatnonzero(~is_unit) + start).tolist())
        if wrong.count:
            check.problems.append(
                f"{opened.place}/{name}: the vectors of rows {wrong} do not have length 1; "
                f"{opened.advice}"
            )
    check.looked_at = f"{manifest.row_count:,} rows of {manifest.dim}"


def check_agreement(opened: OpenedGallery, check: Check) -> None:
    """Compare every row of `index.faiss` with its row in `embeddings.f16`."""
    check.looked_at = f"{opened.gallery.row_count:,} rows"
    halves = opened.vector_files["embeddings.f16"]
    with progress(f"comparing {opened.gallery.kind}", opened.gallery.row_count, "rows") as bar:
        if opened.gallery.manifest.index.kind == "exact":
            wrong = Found()
            for start, block in blocks_of(opened.vector_files["index.faiss"]):
                own = block.astype("<f2").view("<u2")
                stored = halves[start : start + len(block)].view("<u2")
                wrong.add((np.flatnonzero((own != stored).any(axis=1)) + start).tolist())
                bar.advance(len(block))
        else:
            wrong = _far_decoded(opened, halves, check, bar.advance)
    if wrong.count:
        check.problems.append(
            f"{opened.place}: rows {wrong} of index.faiss are not those of embeddings.f16; "
            f"{opened.advice}"
        )


def check_background(opened: OpenedGallery, check: Check) -> None:
    """Compare the background sample with `embeddings.f16`; its items must be there."""
    gallery = opened.gallery
    rows = gallery.background.rows
    check.looked_at = f"{len(rows):,} rows"
    is_removed = np.zeros(len(rows), bool) if gallery.live is None else ~gallery.live[rows]
    stored = opened.vector_files["embeddings.f16"][rows].view("<u2")
    differs = (gallery.background.vectors.astype("<f2").view("<u2") != stored).any(axis=1)
    wrong = Found(rows[is_removed | differs].tolist())
    if wrong.count:
        check.problems.append(
            f"{opened.place}: rows {wrong} of {BACKGROUND_FILE} are not those of "
            f"embeddings.f16, or of removed items; {opened.advice}"
        )


def _far_decoded(
    opened: OpenedGallery, halves: RowFile, check: Check, advance: Callable[[int], None]
) -> Found:
    """Return the rows that the index decodes to something far from their stored vectors."""
    row_count = opened.gallery.row_count
    is_there = np.zeros(row_count, dtype=np.bool_)
    errors = _Errors()
    try:
        for rows, vectors in decoded_blocks(opened.faiss_index):
            if rows.min() < 0 or rows.max() >= row_count or is_there[rows].any():
                check.problems.append(
                    f"{opened.place}/index.faiss holds rows twice or rows that are not there; "
                    f"{opened.advice}"
                )
                return Found()
            is_there[rows] = True
            differences = vectors - halves[rows].astype(np.float32)
            errors.add(rows, np.linalg.norm(differences, axis=1))
            halves.release()
            advance(len(rows))
    except CannotDecodeError as error:
        check.notes.append(f"{error}; its rows are compared by their recall alone")
        return Found()
    threshold = _TIMES_MEDIAN * errors.median() + _AND_MORE
    if threshold > _APART:
        check.notes.append(
            f"the codes lie {errors.median():.2f} from their vectors: too far to tell one row from "
            "another; they are compared by their recall alone"
        )
    return errors.above(threshold)


class _Errors:
    """Keeps the largest of any number of errors, and how all of them are distributed."""

    def __init__(self) -> None:
        self._edges = np.concatenate([[0.0], np.geomspace(1e-9, 1e3, 4000)])
        self._counts = np.zeros(len(self._edges) + 1, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)
        self._largest = np.empty(0, dtype=np.float32)

    def add(self, rows: RowNumbers, errors: npt.NDArray[np.float32]) -> None:
        """Take the errors (row,) of some rows into account; NaN is as large as can be."""
        errors = np.where(np.isnan(errors), np.inf, errors)
        places = np.searchsorted(self._edges, errors)
        self._counts += np.bincount(places, minlength=len(self._counts))
        self._rows = np.concatenate([self._rows, rows])
        self._largest = np.concatenate([self._largest, errors])
        kept = np.argsort(-self._largest, kind="stable")[:_KEPT_COUNT]
        self._rows, self._largest = self._rows[kept], self._largest[kept]

    def median(self) -> float:
        """Return the median error, to one per cent."""
        place = int(np.searchsorted(self._counts.cumsum(), self._counts.sum() / 2))
        return float(self._edges[min(place, len(self._edges) - 1)])

    def above(self, threshold: float) -> Found:
        """Return the rows with larger errors, the worst first; at most as many as are kept."""
        return Found(self._rows[self._largest > threshold].tolist())
