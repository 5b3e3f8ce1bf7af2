"""Which image each caption names, in rows: what leads from the captions gallery to that of images.

Captions name images by id. One that names no image, or one that is not in the images gallery, leads
nowhere.
"""

import threading

import numpy as np

from index_builder.galleries.gallery import Gallery
from index_builder.vector_index import AllowedRows, RowNumbers

__all__ = ["NOWHERE", "NamedImages"]

NOWHERE = -1
_ROWS_AT_ONCE = 100_000


class NamedImages:
    """The step from captions to images of one index; safe to use from several threads.

    Args:
        captions: The captions gallery.
        images: The images gallery, in whose rows the answers are.
    """

    def __init__(self, captions: Gallery, images: Gallery) -> None:
        self._captions = captions
        self._images = images
        self._lock = threading.Lock()
        self._image_rows: RowNumbers | None = None

    def image_rows(self, caption_rows: RowNumbers) -> RowNumbers:
        """Return (caption,), the row of the image that each caption names; -1 leads nowhere."""
        image_ids = self._captions.image_ids_of_rows(caption_rows.tolist())
        rows = self._images.rows_of_ids(list(set(image_ids.values())))
        found = [rows.get(image_ids.get(row) or "", NOWHERE) for row in caption_rows.tolist()]
        return np.array(found, dtype=np.int64)

    def captions_of(self, allowed: AllowedRows) -> AllowedRows:
        """Return (caption row,), True where a caption names an image that is allowed.

        All captions are looked through at the first call, a second or two for a million; from then
        on a call costs next to nothing, and 8 bytes a caption are kept.

        Args:
            allowed: (image row,).
        """
        with self._lock:
            if self._image_rows is None:
                self._image_rows = self._all_image_rows()
        image_rows = self._image_rows
        return (image_rows != NOWHERE) & allowed[image_rows]

    def _all_image_rows(self) -> RowNumbers:
        image_rows = np.full(self._captions.row_count, NOWHERE, dtype=np.int64)
        for start in range(0, len(image_rows), _ROWS_AT_ONCE):
            rows = np.arange(start, min(start + _ROWS_AT_ONCE, len(image_rows)))
            image_rows[rows] = self.image_rows(rows)
        return image_rows
