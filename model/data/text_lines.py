"""The lines of a text file that a user gave."""

from collections.abc import Iterator
from pathlib import Path

from model.errors import DataError

__all__ = ["read_lines"]


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file without the white space around them.

    Raises:
        DataError: It is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield line.strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
