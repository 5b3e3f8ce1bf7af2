"""A sample of items, encoded again from their text or their picture and compared."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL.Image import Image

from index_builder.batched import batched
from index_builder.galleries.items import Item
from index_builder.listing.source_bytes import read_source
from index_builder.sources import EntryError
from index_builder.vector_index import RowNumbers, Rows
from index_builder.verification.findings import Check, Found
from index_builder.verification.opened import OpenedGallery
from model.console import progress
from model.dual_encoder import DualEncoder, reads_regions
from model.errors import PictureError
from model.inputs.pictures import MAX_PIXELS, open_picture

__all__ = ["check_sample"]

# Rounding to float16, another batch and another device change a cosine by less than a tenth of it.
_LEAST_COSINE = 1 - 1e-3
_ITEMS_AT_ONCE = 32


def check_sample(
    opened: OpenedGallery, encoder: DualEncoder, wanted_count: int, check: Check
) -> None:
    """Encode some items again, the same at every call, and compare with their stored vectors.

    A picture whose file is gone or was changed since is no problem of the index; it is counted.
    """
    gallery = opened.gallery
    if gallery.kind == "images" and reads_regions(encoder):
        check.notes.append("regions cannot be read again: an index does not say where they lie")
        return
    rows = _sample(opened, wanted_count)
    wrong, unread = Found(), Found()
    encoded_count = 0
    with progress(f"encoding {gallery.kind} again", len(rows), gallery.kind) as bar:
        for some in batched(rows.tolist(), _ITEMS_AT_ONCE):
            items = _items(opened, some)
            if gallery.kind == "captions":
                vectors = encoder.encode_captions([item.caption or "" for item in items]).numpy()
            else:
                items, pictures = _pictures(opened, items, unread)
                if not items:
                    bar.advance(len(some))
                    continue
                vectors = encoder.encode_images(pictures, batch_size=len(pictures)).numpy()
            stored = gallery.vectors_of_rows(np.array([item.row for item in items]))
            is_wrong = ~(_cosines(vectors, stored) >= _LEAST_COSINE)
            far = [item for item, is_far in zip(items, is_wrong, strict=True) if is_far]
            wrong.add(f"{item.id} (row {item.row})" for item in far)
            encoded_count += len(items)
            bar.advance(len(some))
    check.looked_at = f"{encoded_count:,} of {gallery.count:,} {gallery.kind}"
    if unread.count:
        check.notes.append(
            f"{unread.count:,} of {len(rows):,} could not be read again: {unread}; "
            "if the pictures moved, give --images-root"
        )
    if wrong.count:
        check.problems.append(
            f"{opened.place}: the vectors of {wrong} are not what the checkpoint makes of these "
            f"{gallery.kind}, as if rows had been swapped; {opened.advice}"
        )


def _sample(opened: OpenedGallery, wanted_count: int) -> RowNumbers:
    live = opened.gallery.live
    rows: int | RowNumbers = opened.gallery.row_count if live is None else opened.gallery.rows()
    wanted_count = min(wanted_count, opened.gallery.count)
    return np.sort(np.random.default_rng(0).choice(rows, wanted_count, replace=False))


def _items(opened: OpenedGallery, rows: Sequence[int]) -> list[Item]:
    return list(opened.items.items(list(opened.items.ids_of_rows(rows).values())).values())


def _pictures(
    opened: OpenedGallery, items: Sequence[Item], unread: Found
) -> tuple[list[Item], list[Image]]:
    """Return those pictures that can be read as they were encoded; the others are noted."""
    found: list[Item] = []
    pictures: list[Image] = []
    max_pixels = opened.gallery.manifest.preprocessing.get("max_pixels", MAX_PIXELS)
    for item in items:
        try:
            content = read_source(item, opened.gallery.images_root)
            pictures.append(open_picture(content, max_pixels=max_pixels))
        except (EntryError, PictureError) as error:
            unread.add([str(error)])
            continue
        found.append(item)
    return found, pictures


def _cosines(left: Rows, right: Rows) -> npt.NDArray[np.float64]:
    left, right = left.astype(np.float64), right.astype(np.float64)
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    with np.errstate(invalid="ignore"):  # where one is infinite or zero, it is not near
        return np.einsum("ij,ij->i", left, right) / lengths
