"""The lines of a UTF-8 text file, one at a time."""

from collections.abc import Iterator
from pathlib import Path

from index_builder.sources.problems import Problems, is_unicode
from model.errors import DataError

__all__ = ["text_lines"]


def text_lines(path: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    """Yield `file:number` and text of each line; a byte order mark is not part of the first.

    A line that is not UTF-8 is a problem.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                place = f"{path.name}:{number}"
                if is_unicode(line):
                    yield place, line
                else:
                    problems.add(f"{place}: not UTF-8 text; save the file as UTF-8")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
