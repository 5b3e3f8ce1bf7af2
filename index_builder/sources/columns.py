"""The columns that every table of pictures or captions shares: ids and paths, checked."""

from collections.abc import Collection
from pathlib import PurePosixPath
from typing import Any

from model.errors import DataError
from model.identifiers import check_item_id

__all__ = ["checked_id", "checked_path", "other_columns"]


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
