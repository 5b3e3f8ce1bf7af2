"""Where items come from: a folder of pictures, a list of pictures, a file of captions.

Images:    a folder tree, or `.jsonl` with `path` (relative to the images' root), optional `id`;
           a region array of the SCAN layout is read by `regions`
Captions:  `.txt`, one a line, or `.jsonl` with `caption` (or `captions`, a list), optional `id`,
           and the picture it belongs to as `image_id` or `image` (its path); `X_caps.txt` beside
           a region array `X_ims.npy` names the images of the array

Every other column is metadata. The order of the source is the order of the rows. What is wrong
with a file is told all at once, before anything is encoded.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from index_builder.items import Rejection
from index_builder.regions import image_ids_of_scan_captions
from model.errors import DataError
from model.identifiers import caption_id, check_item_id, image_id_for_path

__all__ = ["CaptionEntry", "CaptionList", "ImageEntry", "ImageList", "read_captions", "read_images"]

_PICTURE_ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
_IMAGE_COLUMNS = {"path", "id"}
_CAPTION_COLUMNS = {"caption", "captions", "id", "image_id", "image", "filename"}
_SHOWN_PROBLEM_COUNT = 10


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A picture that was named; nobody has looked at it yet.

    Attributes:
        id: Given, or made from the path.
        path: Posix, relative to the images' root.
        metadata: The other columns.
    """

    id: str
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageList:
    """What a source of pictures named.

    Attributes:
        root: The folder that the paths are relative to, absolute.
        entries: In row order, ids unique, at least one.
    """

    root: Path
    entries: list[ImageEntry]


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """A caption.

    Attributes:
        id: Given, or made from the text and its place.
        text: Not empty, without white space around it.
        image_id: The picture it belongs to, if the source named it by id.
        image_path: The picture it belongs to, if the source named it by path.
        metadata: The other columns.
    """

    id: str
    text: str
    image_id: str | None = None
    image_path: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CaptionList:
    """What a captions file held: `entries` in row order, ids unique, at least one."""

    entries: list[CaptionEntry]
    rejected: list[Rejection]


def read_images(source: Path, images_root: Path | None = None) -> ImageList:
    """Return the pictures that `source` names, in a stable order.

    Args:
        source: A folder tree (hidden names and other files are passed over) or a `.jsonl` file.
        images_root: What the paths are relative to; default: the folder, or that of the file.

    Raises:
        DataError: The source cannot be used; every problem is told.
    """
    if source.is_dir():
        return _read_folder(source, images_root or source)
    _check_file(
        source, (".jsonl",), "a folder of pictures, a .jsonl file with `path` or {split}_ims.npy"
    )
    root = (images_root or source.parent).resolve()
    if not root.is_dir():
        raise DataError(f"the images' root {root} is no folder; give another --images-root")
    entries: list[ImageEntry] = []
    problems: list[str] = []
    for place, row in _json_lines(source, problems):
        try:
            entries.append(_image_entry(row))
        except DataError as error:
            problems.append(f"{place}: {error}")
    _raise_all(source, problems)
    if not entries:
        raise DataError(f"{source} names no picture; write one JSON object with `path` a line")
    _refuse_duplicates(source, [entry.id for entry in entries])
    return ImageList(root, entries)


def read_captions(source: Path) -> CaptionList:
    """Return the captions of a `.txt` or `.jsonl` file in their order.

    Raises:
        DataError: The file cannot be used; every problem is told.
    """
    _check_file(source, (".txt", ".jsonl"), "a .txt or .jsonl file")
    captions = CaptionList([], [])
    if source.suffix.lower() == ".txt":
        texts = [line.strip() for _, line in _lines(source) if line.strip()]
        image_ids: Sequence[str | None] = image_ids_of_scan_captions(source) or [None] * len(texts)
        captions.entries.extend(
            CaptionEntry(caption_id(text, place), text, image_id)
            for place, (text, image_id) in enumerate(zip(texts, image_ids, strict=True))
        )
    else:
        _read_caption_rows(source, captions)
    if not captions.entries:
        raise DataError(f"{source} holds no caption; write one a line")
    _refuse_duplicates(source, [entry.id for entry in captions.entries])
    return captions


def _read_folder(folder: Path, images_root: Path) -> ImageList:
    root, folder = images_root.resolve(), folder.resolve()
    if not folder.is_relative_to(root):
        raise DataError(f"{folder} does not lie below the images' root {root}")
    paths = []
    for parent, folder_names, names in os.walk(folder):
        folder_names[:] = sorted(name for name in folder_names if not name.startswith("."))
        paths += [
            Path(parent, name).relative_to(root).as_posix()
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in _PICTURE_ENDINGS
        ]
    if not paths:
        endings = " ".join(sorted(_PICTURE_ENDINGS))
        raise DataError(f"{folder} holds no picture; put files there that end in one of {endings}")
    if unnameable := [path for path in paths if not _is_unicode(path)]:
        raise DataError(
            f"{len(unnameable)} file names in {folder} are not UTF-8, such as "
            f"{os.fsencode(unnameable[0])!r}; rename them"
        )
    return ImageList(root, [ImageEntry(image_id_for_path(path), path) for path in sorted(paths)])


def _image_entry(row: dict[str, Any]) -> ImageEntry:
    path = _inner_path(row.get("path"), "path")
    given = row.get("id")
    item_id = image_id_for_path(path) if given is None else _checked_id(given, "id")
    return ImageEntry(item_id, path, _without(row, _IMAGE_COLUMNS))


def _read_caption_rows(source: Path, captions: CaptionList) -> None:
    problems: list[str] = []
    place_in_source = 0
    for place, row in _json_lines(source, problems):
        try:
            texts = _caption_texts(row)
            about = _caption_columns(row)
            ids = _caption_ids(row, texts, place_in_source)
        except DataError as error:
            problems.append(f"{place}: {error}")
            continue
        place_in_source += len(texts)
        for item_id, text in zip(ids, texts, strict=True):
            if text.strip():
                captions.entries.append(CaptionEntry(item_id, text.strip(), **about))
            else:
                captions.rejected.append(Rejection(place, "empty", "the caption has no words"))
    _raise_all(source, problems)


def _caption_texts(row: dict[str, Any]) -> list[str]:
    if ("caption" in row) == ("captions" in row):
        raise DataError("expected either `caption` or `captions`")
    texts = row["captions"] if "captions" in row else [row["caption"]]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError("`caption` must be a text and `captions` a list of texts")
    return texts


def _caption_ids(row: dict[str, Any], texts: Sequence[str], first_place: int) -> list[str]:
    given = row.get("id")
    if given is None or ("captions" in row and row.get("image_id") is None):
        return [caption_id(text.strip(), place) for place, text in enumerate(texts, first_place)]
    if "captions" in row:
        return [_checked_id(f"{given}.{number}", "id") for number in range(len(texts))]
    return [_checked_id(given, "id")]


def _caption_columns(row: dict[str, Any]) -> dict[str, Any]:
    # In a line with all captions of a picture, `id` is the picture's, as training reads it.
    image_id = row.get("image_id")
    if image_id is None and "captions" in row:
        image_id = row.get("id")
    path = row.get("image", row.get("filename"))
    return {
        "image_id": None if image_id is None else _checked_id(image_id, "image_id"),
        "image_path": None if path is None else _inner_path(path, "image"),
        "metadata": _without(row, _CAPTION_COLUMNS),
    }


def _checked_id(value: Any, column: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"`{column}` must be a text, found {value!r}")
    return check_item_id(value)


def _inner_path(value: Any, column: str) -> str:
    if not isinstance(value, str) or not value:
        raise DataError(f"`{column}` must be the path of a picture, found {value!r}")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\0" in value:
        raise DataError(
            f"`{column}` {value!r} must be relative to the images' root and stay below it"
        )
    return path.as_posix()


def _without(row: dict[str, Any], columns: set[str]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in columns}


def _check_file(source: Path, endings: tuple[str, ...], expected: str) -> None:
    if not source.exists():
        raise DataError(f"{source} does not exist; give {expected}")
    if not source.is_file() or source.suffix.lower() not in endings:
        raise DataError(f"{source} cannot be read as a source; give {expected}")


def _lines(source: Path) -> Iterator[tuple[int, str]]:
    try:
        with source.open(encoding="utf-8-sig") as file:
            yield from enumerate(file, 1)
    except UnicodeDecodeError as error:
        raise DataError(f"{source} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except OSError as error:
        raise DataError(f"{source} cannot be read: {error.strerror}") from error


def _json_lines(source: Path, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(source):
        if not line.strip():
            continue
        place = f"{source.name}:{number}"
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            problems.append(f"{place}: not JSON: {error}")
            continue
        if isinstance(row, dict):
            yield place, row
        else:
            problems.append(f"{place}: expected a JSON object")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _refuse_duplicates(source: Path, ids: Iterable[str]) -> None:
    places = defaultdict(list)
    for place, item_id in enumerate(ids, 1):
        places[item_id].append(place)
    _raise_all(
        source,
        [
            f"id {item_id!r} stands {len(found)} times, as items {', '.join(map(str, found[:5]))}"
            for item_id, found in places.items()
            if len(found) > 1
        ],
    )


def _raise_all(source: Path, problems: list[str]) -> None:
    if not problems:
        return
    shown = "\n  ".join(problems[:_SHOWN_PROBLEM_COUNT])
    more = len(problems) - _SHOWN_PROBLEM_COUNT
    rest = f"\n  and {more:,} more" if more > 0 else ""
    raise DataError(f"{source} has {len(problems):,} problems; correct them:\n  {shown}{rest}")


def _is_unicode(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
