"""The images of a region array: `X_ims.npy` in the SCAN layout.

With it go `X_ids.txt`, `X_counts.npy` and `X_caps.txt`, if they lie beside it. Such images have an
embedding and an id, and neither picture nor thumbnail.
"""

from collections.abc import Iterator
from pathlib import Path

from index_builder.sources.entries import ImageEntry
from model.data.scan import open_scan_images

__all__ = ["RegionSource"]


class RegionSource:
    """A region array; there is nothing to read of it but regions.

    Attributes:
        description: For messages.
        regions: Of each image.
        root: None: there are no pictures.
        has_own_ids: They stand in a file; else they are made of split and place.
    """

    root = None

    def __init__(self, path: Path) -> None:
        """Open the array at `path` and what lies beside it.

        Raises:
            DataError: One of them cannot be used.
        """
        images = open_scan_images(path)
        self.description = str(path)
        self.regions = images.regions
        self._image_ids = images.image_ids
        made = (f"{images.split}-{place}" for place in range(len(images.image_ids)))
        self.has_own_ids = images.image_ids != tuple(made)

    def entries(self) -> Iterator[ImageEntry]:
        """Yield the images, in row order."""
        for image_id in self._image_ids:
            yield ImageEntry(image_id, "", has_own_id=self.has_own_ids)
