"""The columns that every table of pictures or captions shares: ids and paths, checked."""

import unicodedata
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath
from typing import Any, Literal

from model.errors import DataError
from model.identifiers import check_item_id

__all__ = [
    "checked_id",
    "checked_path",
    "meant_as_path",
    "meant_paths",
    "other_columns",
    "told_meaning",
]

# Letters with accents as one character, as most systems write them, or as two, as macOS does.
_UNICODE_FORMS: tuple[Literal["NFC"], Literal["NFD"]] = ("NFC", "NFD")
# What people call the column with the path of a picture, in any case.
_MEANT_AS_PATH = frozenset(
    {
        "file", "file_name", "filename", "filepath", "image", "image_name", "image_path", "images",
        "img", "path", "photo", "picture",
    }
)  # fmt: skip


def checked_id(value: Any, column: str) -> str:
    """Return an id as text; whole numbers are ids too.

    Raises:
        DataError: It is something else, or has characters that ids do not have.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise DataError(f"`{column}` must be a text, found {value!r}")
    return check_item_id(value)


def checked_path(value: Any, column: str) -> str:
    """Return a posix path that stays below the images' root, without `./` and `//`.

    Raises:
        DataError: It is no text, empty, absolute, or has a `..`.
    """
    if not isinstance(value, str) or not value:
        raise DataError(f"`{column}` must be the path of a picture, found {value!r}")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or "\0" in value:
        raise DataError(
            f"`{column}` {value!r} must be relative to the images' root and stay below it"
        )
    return path.as_posix()


def other_columns(row: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return the metadata of a row: every column that has no meaning of its own."""
    return {name: value for name, value in row.items() if name not in known}


def meant_as_path(names: Iterable[str]) -> str:
    """Return the first of some columns that seems to hold the path of a picture; or ""."""
    return next((name for name in names if name.lower() in _MEANT_AS_PATH), "")


def meant_paths(path: str) -> list[str]:
    r"""Return what a path that leads nowhere may mean: `photos\a.jpg` also `a.jpg`, and `a.JPG`."""
    with_slashes = path.replace("\\", "/")
    meant = []
    for each in (path, with_slashes, with_slashes.partition("/")[2]):
        stem, dot, ending = each.rpartition(".")
        endings = [f"{stem}{dot}{ending.lower()}", f"{stem}{dot}{ending.upper()}"]
        forms = [unicodedata.normalize(form, each) for form in _UNICODE_FORMS]
        meant += [each, *endings, *forms]
    return [
        each
        for each in dict.fromkeys(meant)
        if each not in ("", path) and each[:1] != "/" and ".." not in each.split("/")
    ]


def told_meaning(written: str, meant: str) -> str:
    """Return how a path has to be written to be the one that it means."""
    for form in _UNICODE_FORMS:
        if meant == unicodedata.normalize(form, written):
            return f"in the Unicode form {form} (it looks the same): write paths in that form"
    if meant.lower() == written.lower():
        how = f"with .{meant.rpartition('.')[2]}"
    elif "\\" in written:
        how = "with / for every backslash"
    else:
        how = "with the folder in front" if meant.endswith(written) else "without the first folder"
    return f"{how}: write {meant!r} instead of '{written}'"
