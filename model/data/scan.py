"""The SCAN layout: a folder of region arrays with their captions, as the field shares its features.

    {split}_ims.npy      (row, region, region_dim), memory-mapped, never read whole
    {split}_caps.txt     captions, one a line, those of an image consecutive
    {split}_ids.txt      optional: the id of each image, one a line
    {split}_counts.npy   optional: how many regions of each row are real; without it the rows of
                         zeros at the end of an image are padding

- One row an image or one row a caption: the counts tell. Captions = k x rows: k captions each.
  Captions = rows: consecutive rows whose first and last regions are equal are one image, however
  many they are; the regions between are not compared.
- Where there is no ids file, or one of another length, ids are made of split and place: `test-0`.

Source: SCAN (ECCV 2018), `data/f30k_precomp`, `data/coco_precomp`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from model import console
from model.data.captioned_images import CaptionedImages
from model.data.text_lines import read_lines
from model.errors import DataError
from model.identifiers import check_item_id
from model.inputs.regions import ImageRegions, RegionFile, open_region_file

__all__ = ["ScanImages", "load_scan", "open_scan_images", "scan_splits"]

_ARRAY = "_ims.npy"
_CAPTIONS = "_caps.txt"


@dataclass(frozen=True, eq=False)
class ScanImages:
    """The images of one split.

    Attributes:
        split: Its name.
        image_ids: Unique.
        regions: Of each image.
        captions: Of each image; None where the split has no captions file.
    """

    split: str
    image_ids: tuple[str, ...]
    regions: ImageRegions
    captions: tuple[tuple[str, ...], ...] | None


def scan_splits(folder: Path) -> list[str]:
    """Return the names of the splits whose region arrays lie in `folder`, sorted."""
    return sorted(path.name.removesuffix(_ARRAY) for path in folder.glob(f"*{_ARRAY}"))


def load_scan(folder: Path, splits: Collection[str] | None = None) -> CaptionedImages:
    """Return the images of a folder, split by split in the order of their names.

    Args:
        folder: Where the arrays lie.
        splits: Which splits to open, those of them that are there; None opens every one.

    Raises:
        DataError: None of the splits is there, or a file cannot be used.
    """
    found = scan_splits(folder)
    wanted = [split for split in found if splits is None or split in splits]
    if not wanted:
        asked = "" if splits is None else f" of split {' or '.join(sorted(splits))}"
        raise DataError(
            f"{folder} holds no region array{asked}; found {', '.join(found) or 'nothing'}"
        )
    parts = [open_scan_images(folder / f"{split}{_ARRAY}") for split in wanted]
    for part in parts:
        if part.captions is None:
            raise DataError(f"there is no {folder / part.split}{_CAPTIONS}")
    image_ids = tuple(image_id for part in parts for image_id in part.image_ids)
    if len(set(image_ids)) < len(image_ids):
        raise DataError(
            f"{folder}: an id stands in two splits of {', '.join(wanted)}; load one of them, or "
            "take the _ids.txt files away if they count anew in every split"
        )
    return CaptionedImages(
        image_ids=image_ids,
        image_paths=(),
        captions=tuple(captions for part in parts for captions in part.captions or ()),
        metadata=tuple({} for _ in image_ids),
        splits=tuple(part.split for part in parts for _ in part.image_ids),
        regions=ImageRegions.joined([part.regions for part in parts]),
    )


def open_scan_images(array: Path) -> ScanImages:
    """Return the images of one region array, with the ids and counts that lie beside it.

    Where no captions lie beside it, a row is an image.

    Raises:
        DataError: The name does not end in `_ims.npy`, or a file cannot be used.
    """
    if not array.name.endswith(_ARRAY):
        raise DataError(f"{array.name}: a region array is named {{split}}{_ARRAY}")
    split = array.name.removesuffix(_ARRAY)
    file = open_region_file(array, array.with_name(f"{split}_counts.npy"))
    rows: npt.NDArray[np.int64] = np.arange(len(file))
    captions = None
    captions_file = array.with_name(f"{split}{_CAPTIONS}")
    if captions_file.is_file():
        lines = _captions(captions_file)
        rows, counts = _rows_of_images(file, len(lines), captions_file)
        ends = counts.cumsum()
        captions = tuple(
            tuple(lines[end - count : end]) for end, count in zip(ends, counts, strict=True)
        )
    return ScanImages(
        split=split,
        image_ids=_image_ids(array.with_name(f"{split}_ids.txt"), split, rows, len(file)),
        regions=ImageRegions.of_file(file, rows),
        captions=captions,
    )


def _captions(path: Path) -> list[str]:
    """Return the captions of a file, one a line, none empty."""
    captions = list(read_lines(path))
    for number, caption in enumerate(captions, start=1):
        if not caption:
            raise DataError(
                f"{path} line {number} is empty; every line is a caption, and its place says whose"
            )
    return captions


def _rows_of_images(
    file: RegionFile, caption_count: int, captions: Path
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the row of each image and its number of captions."""
    row_count = len(file)
    if caption_count == 0 or caption_count % row_count:
        raise DataError(
            f"{captions.name} has {caption_count:,} captions but {file.path.name} has "
            f"{row_count:,} rows; expected one row a caption, or the same number of captions for "
            "every row"
        )
    if caption_count > row_count:
        return np.arange(row_count), np.full(row_count, caption_count // row_count)
    rows = np.flatnonzero(file.differs_from_previous())
    return rows, np.diff(rows, append=row_count)


def _image_ids(
    path: Path, split: str, rows: npt.NDArray[np.int64], row_count: int
) -> tuple[str, ...]:
    """Return the id of each image: from its file, else made of split and place."""
    made = tuple(f"{split}-{place}" for place in range(len(rows)))
    if not path.is_file():
        return made
    given = list(read_lines(path))
    if len(given) == row_count:
        given = [given[row] for row in rows]
    if len(given) != len(rows):
        console.warn(
            f"{path.name} has {len(given):,} ids for {len(rows):,} images; ids are made of split "
            "and place instead"
        )
        return made
    if len(set(given)) < len(given):
        raise DataError(
            f"{path}: an id stands twice; every image needs its own, or take the file away"
        )
    return tuple(check_item_id(item_id) for item_id in given)
