"""The images that a captions file names: of the wanted splits, and with pictures really there."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from model.data.captioned_images import CaptionedImages
from model.errors import DataError, NoSplitsError

__all__ = ["NamedImage", "captioned_images", "path_below"]

_SHOWN_COUNT = 3


@dataclass
class NamedImage:
    """An image as a captions file tells of it.

    Attributes:
        image_id: Its id.
        path: Where its picture should lie.
        captions: Its captions; more are added while the file is read.
        split: An empty string where the file has none.
        metadata: Whatever else the file says about it.
    """

    image_id: str
    path: Path
    captions: list[str]
    split: str
    metadata: Mapping[str, Any] = field(default_factory=dict)


def path_below(root: Path, relative: str, where: str) -> Path:
    """Return root / relative.

    Args:
        root: The folder of pictures.
        relative: A posix path.
        where: The line or entry that names it, for the message.

    Raises:
        DataError: The path leads out of the root.
    """
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts:
        raise DataError(f"{where}: {relative!r} does not lie below the folder of pictures")
    return root / pure


def captioned_images(
    named: Sequence[NamedImage], captions_file: Path, splits: Collection[str] | None
) -> CaptionedImages:
    """Return the images of the wanted splits, in the order of the file.

    Args:
        named: Every image of the file.
        captions_file: The file, for the messages.
        splits: Which splits to keep; None keeps every image.

    Raises:
        NoSplitsError: Splits are wanted, and the file names none.
        DataError: No image is left, two have the same id, or a picture is not there.
    """
    kept = [image for image in named if splits is None or image.split in splits]
    if splits is not None and not any(image.split for image in named):
        raise NoSplitsError(
            f"{captions_file}: these captions name no splits; give --split all, or add a field "
            "`split` (train, dev, test) before you train"
        )
    if not kept:
        found = ", ".join(sorted({image.split for image in named} - {""})) or "none"
        wanted = "" if splits is None else f" is of split {' or '.join(sorted(splits))}"
        raise DataError(f"{captions_file}: no image{wanted}; found {found}")
    if len({image.image_id for image in kept}) < len(kept):
        raise DataError(f"{captions_file}: an id stands twice; every image needs its own")
    missing = [image.path for image in kept if not image.path.is_file()]
    if missing:
        shown = ", ".join(str(path) for path in missing[:_SHOWN_COUNT])
        more = f" and {len(missing) - _SHOWN_COUNT} more" if len(missing) > _SHOWN_COUNT else ""
        raise DataError(
            f"{captions_file.name} names {len(missing)} of {len(kept)} pictures that do not "
            f"exist: {shown}{more}"
        )
    return CaptionedImages(
        image_ids=tuple(image.image_id for image in kept),
        image_paths=tuple(image.path for image in kept),
        captions=tuple(tuple(image.captions) for image in kept),
        metadata=tuple(image.metadata for image in kept),
        splits=tuple(image.split for image in kept),
    )
