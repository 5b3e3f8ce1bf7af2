"""The lines of a UTF-8 text file, one at a time."""

from collections.abc import Iterator
from pathlib import Path

from index_builder.sources.problems import NotUtf8, Problems, is_unicode
from model.errors import DataError

__all__ = ["text_lines"]


def text_lines(path: Path, problems: Problems) -> Iterator[tuple[str, str]]:
    """Yield `file:number` and text of each line; a byte order mark is not part of the first.

    Lines that are not UTF-8 are one problem.

    Raises:
        DataError: The file cannot be read.
    """
    foreign = NotUtf8(path)
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                place = f"{path.name}:{number}"
                if is_unicode(line):
                    yield place, line
                else:
                    foreign.add(place)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    foreign.tell(problems)
