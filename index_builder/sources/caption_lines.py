"""A `.txt` of captions, one a line; blank lines do not count.

`X_caps.txt` beside a region array `X_ims.npy` (SCAN layout) names the images of the array.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from index_builder.sources.entries import CaptionEntry, Rejection
from index_builder.sources.problems import Problems
from index_builder.sources.text_lines import text_lines
from model.data.scan import open_scan_images
from model.errors import DataError
from model.identifiers import caption_id

__all__ = ["CaptionLines"]


@dataclass(frozen=True)
class CaptionLines:
    """The captions of a text file, in its order.

    Attributes:
        path: The file.
    """

    path: Path

    @property
    def description(self) -> str:
        """What it is, for people."""
        return str(self.path)

    def entries(self) -> Iterator[CaptionEntry | Rejection]:
        """Yield the captions in the order of the lines.

        Raises:
            DataError: The file cannot be used, or holds no caption.
        """
        problems = Problems(self.description)
        image_ids = _image_ids_of_scan_captions(self.path)
        texts = (text for _, line in text_lines(self.path, problems) if (text := line.strip()))
        is_empty = True
        for place, text in enumerate(texts):
            is_empty = False
            image_id = image_ids[place] if image_ids else None
            yield CaptionEntry(caption_id(text, place), text, image_id, has_own_id=False)
        problems.refuse()
        if is_empty:
            raise DataError(f"{self.path} holds no caption; write one a line")


def _image_ids_of_scan_captions(source: Path) -> list[str] | None:
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
