"""The pictures that a captions file names: below their folder, and really there."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from model.errors import DataError

__all__ = ["path_below", "refuse_missing_pictures"]

_SHOWN_COUNT = 3


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


def refuse_missing_pictures(paths: Sequence[Path], captions_file: Path) -> None:
    """Raise DataError with the first few pictures that are not there."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        shown = ", ".join(str(path) for path in missing[:_SHOWN_COUNT])
        more = f" and {len(missing) - _SHOWN_COUNT} more" if len(missing) > _SHOWN_COUNT else ""
        raise DataError(
            f"{captions_file.name} names {len(missing)} of {len(paths)} pictures that do not "
            f"exist: {shown}{more}"
        )
