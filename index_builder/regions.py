"""Images that are rows of a region array in the SCAN layout: named and beside their captions.

`X_ims.npy`, with `X_ids.txt`, `X_counts.npy` and `X_caps.txt` beside it if they are there. Such
items have an embedding and an id, and neither picture nor thumbnail. A row that cannot be used
refuses the source.
"""

from dataclasses import dataclass
from pathlib import Path

from model.data.scan import open_scan_images
from model.inputs.regions import ImageRegions

__all__ = ["RegionList", "image_ids_of_scan_captions", "read_regions"]


@dataclass(frozen=True, eq=False)
class RegionList:
    """What a region array named.

    Attributes:
        entries: The ids of the images, in row order, unique, at least one.
        regions: Of each image.
        root: None: there are no pictures.
    """

    entries: tuple[str, ...]
    regions: ImageRegions
    root: None = None


def read_regions(source: Path) -> RegionList:
    """Return the images of the region array `source`.

    Raises:
        DataError: The array, or a file beside it, cannot be used.
    """
    images = open_scan_images(source)
    return RegionList(images.image_ids, images.regions)


def image_ids_of_scan_captions(source: Path) -> list[str] | None:
    """Return the image that each line of a captions file belongs to, by the array beside it.

    None where `source` is no `X_caps.txt` with an `X_ims.npy` beside it.

    Raises:
        DataError: Captions and rows do not fit each other.
    """
    array = source.with_name(source.name.removesuffix("_caps.txt") + "_ims.npy")
    if not source.name.endswith("_caps.txt") or not array.is_file():
        return None
    images = open_scan_images(array)
    own = zip(images.image_ids, images.captions or (), strict=True)
    return [image_id for image_id, captions in own for _ in captions]
