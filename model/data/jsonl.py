"""The JSONL layout: a folder of pictures and a captions file of one JSON object a line.

- One line of the file may hold an image with all its captions (`captions`) or one caption
  (`caption`); lines of the same image are gathered, in the order of their first line.
- Every line must name a picture that exists: what is missing is told before anything runs.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from model.data.captioned_images import CaptionedImages
from model.data.named_images import NamedImage, captioned_images, path_below
from model.data.text_lines import read_lines
from model.errors import DataError
from model.identifiers import check_item_id, image_id_for_path

__all__ = ["load_jsonl"]

_RESERVED = frozenset({"image", "filename", "image_id", "id", "split", "caption", "captions"})


def load_jsonl(
    images_root: Path, captions_file: Path, splits: Collection[str] | None = None
) -> CaptionedImages:
    """Return the images of a captions file, in the order of their first line.

    Args:
        images_root: Folder that picture paths are relative to.
        captions_file: JSON lines; each line has `caption` or `captions`, and `image` (or
            `filename`: a path below `images_root`) or `image_id`; `id` and `image_id` name the
            image, `split` its part of the data, anything else is metadata.
        splits: Which splits to keep; None keeps every image.

    Raises:
        DataError: A file or folder is missing, a line cannot be used, pictures are missing, or
            nothing is left.
    """
    if not captions_file.is_file():
        raise DataError(f"there is no captions file {captions_file}")
    if not images_root.is_dir():
        raise DataError(f"there is no folder of pictures {images_root}")
    gathered = _gather(images_root, captions_file)
    if not gathered:
        raise DataError(f"{captions_file} holds no captions")
    return captioned_images(gathered, captions_file, splits)


def _gather(images_root: Path, captions_file: Path) -> list[NamedImage]:
    """Return the images of a captions file, each with the captions of all its lines."""
    by_id: dict[str, NamedImage] = {}
    paths_of_ids: dict[str, Path] | None = None
    for where, row in _rows(captions_file):
        captions = _captions_of(row, where)
        relative = row.get("image", row.get("filename"))
        given_id = row.get("image_id") or (row.get("id") if "captions" in row else None)
        if relative is None and given_id is None:
            raise DataError(f"{where}: names no picture; add `image` or `image_id`")
        if relative is None:
            if paths_of_ids is None:
                paths_of_ids = _paths_by_default_id(images_root)
            path = paths_of_ids.get(str(given_id), images_root / str(given_id))
            image_id = str(given_id)
        else:
            path = path_below(images_root, str(relative), where)
            posix = PurePosixPath(str(relative)).as_posix()
            image_id = image_id_for_path(posix) if given_id is None else str(given_id)
        check_item_id(image_id)
        known = by_id.get(image_id)
        if known is None:
            metadata = {key: value for key, value in row.items() if key not in _RESERVED}
            split = str(row.get("split") or "")
            by_id[image_id] = NamedImage(image_id, path, captions, split, metadata)
        elif known.path != path:
            raise DataError(f"{where}: id {image_id} is {known.path.name} as well as {path.name}")
        else:
            known.captions.extend(captions)
    return list(by_id.values())


def _rows(captions_file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (file name and line, object) for every line that is not empty."""
    for number, line in enumerate(read_lines(captions_file), start=1):
        if not line.strip():
            continue
        where = f"{captions_file.name} line {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, found {type(row).__name__}")
        yield where, row


def _captions_of(row: Mapping[str, Any], where: str) -> list[str]:
    """Return the captions of one line, at least one, none empty."""
    if not row.keys() & {"captions", "caption"}:
        raise DataError(
            f"{where}: no `captions` among {', '.join(row) or 'no fields'}; to train, each picture "
            "needs at least one sentence"
        )
    captions = row["captions"] if "captions" in row else [row["caption"]]
    if not isinstance(captions, list) or not captions:
        raise DataError(f"{where}: `captions` must be a list with at least one caption")
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip():
            raise DataError(f"{where}: a caption must be a text with words, found {caption!r}")
    return list(captions)


def _paths_by_default_id(root: Path) -> dict[str, Path]:
    """Return the files below root by their default id, for lines that name only an id."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {image_id_for_path(path.relative_to(root).as_posix()): path for path in files}
