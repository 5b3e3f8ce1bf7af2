"""Where a data set lies and in which of the field's layouts, told by what lies there.

| layout | a folder with | images are |
|---|---|---|
| JSONL | `captions.jsonl` beside `images/` | pictures |
| SCAN | `{split}_ims.npy` with `{split}_caps.txt` | rows of region arrays |
| Karpathy | `dataset*.json`, beside `images/` or the pictures themselves | pictures |

A folder with several is read as the first of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.data.captioned_images import CaptionedImages
from model.data.jsonl import load_jsonl
from model.data.karpathy import load_karpathy
from model.data.scan import load_scan, scan_splits
from model.errors import DataError

__all__ = ["DataSource", "find_source"]

Layout = Literal["jsonl", "scan", "karpathy"]


@dataclass(frozen=True)
class DataSource:
    """A data set that nobody has read yet.

    Attributes:
        layout: How its files are laid out.
        images: The folder of pictures or of region arrays.
        captions: The captions file; the folder itself in the SCAN layout.
    """

    layout: Layout
    images: Path
    captions: Path

    @classmethod
    def of_files(cls, images: Path, captions: Path) -> "DataSource":
        """Return the source of a folder of pictures and a captions file, told by its ending.

        Raises:
            DataError: The captions file ends neither in .jsonl nor in .json.
        """
        match captions.suffix:
            case ".jsonl":
                return cls("jsonl", images, captions)
            case ".json":
                return cls("karpathy", images, captions)
        if captions.suffix in (".csv", ".parquet"):
            raise DataError(
                f"{captions.name}: only an index is built of {captions.suffix}; to train and to "
                'evaluate, write one JSON object a line (.jsonl), such as {"image": "dog.jpg", '
                '"captions": [...]}, or give Karpathy\'s .json'
            )
        raise DataError(
            f"{captions.name}: captions must say which picture they belong to: one JSON object a "
            'line (.jsonl), such as {"image": "dog.jpg", "captions": [...]}, or Karpathy\'s .json'
        )

    @property
    def name(self) -> str:
        """What people call the data set: the name of its folder."""
        place = self.captions.absolute()
        return place.name if self.layout == "scan" else place.parent.name

    def load(self, splits: Collection[str] | None = None) -> CaptionedImages:
        """Return the images of `splits`; None = every image.

        Raises:
            DataError: Something is missing or cannot be used, or nothing is left.
        """
        match self.layout:
            case "jsonl":
                return load_jsonl(self.images, self.captions, splits)
            case "scan":
                return load_scan(self.images, splits)
            case "karpathy":
                return load_karpathy(self.images, self.captions, splits)


def find_source(folder: Path) -> DataSource:
    """Return the data set in `folder`.

    Raises:
        DataError: There is no such folder, no known layout, or more than one Karpathy file.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}")
    if (folder / "captions.jsonl").is_file():
        return DataSource("jsonl", folder / "images", folder / "captions.jsonl")
    if scan_splits(folder):
        return DataSource("scan", folder, folder)
    found = sorted(folder.glob("dataset*.json"))
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder} holds {names}; name one with --images FOLDER --captions FILE")
    if found:
        pictures = folder / "images"
        return DataSource("karpathy", pictures if pictures.is_dir() else folder, found[0])
    raise DataError(
        f"{folder} holds no data set; expected captions.jsonl beside images/, region arrays "
        "{split}_ims.npy with {split}_caps.txt, or dataset*.json beside images/"
    )
