"""What to say of a folder that holds no index: it is being built, or another one is meant."""

import difflib
import itertools
from collections.abc import Sequence
from pathlib import Path

from index_builder.encoding.work import work_folders
from model.file_lock import living_holder

__all__ = ["told_missing_index"]

_SHOWN_COUNT = 3
_LOOKED_AT = 1000


def told_missing_index(path: Path, versions: Sequence[int]) -> str:
    """Return one sentence about a folder without `current`, with what to do.

    Args:
        path: The folder.
        versions: The versions that it has all the same, ascending.
    """
    if (holder := living_holder(path / "lock")) is not None:
        return (
            f"{path} holds no index yet: it is being built by {holder}; wait until that has "
            "finished"
        )
    if versions:
        return (
            f"{path} has versions {versions} but no file `current`, which says which of them is "
            f"served; serve the newest with: echo {versions[-1]} > {path / 'current'}"
        )
    if work_folders(path / "galleries"):
        return (
            f"{path} holds no index yet: its first build was not finished; give the same command "
            "again: it goes on where it was"
        )
    near = _indexes_near(path)
    others = f"; near it: {', '.join(map(str, near))}" if near else ""
    return (
        f"{path} holds no index (no file `current`{others}); make one with: "
        f"python -m index_builder build --output {path} --help"
    )


def _indexes_near(path: Path) -> list[Path]:
    """Return the indexes inside of a folder and beside it, those with a like name first."""
    found = []
    for folder in (path, path.parent):
        try:
            looked_at = itertools.islice(folder.iterdir(), _LOOKED_AT)
            found += [each for each in looked_at if (each / "current").is_file()]
        except OSError:  # it is not there, or not ours to look at
            continue
    alike = difflib.get_close_matches(path.name, [each.name for each in found])
    return sorted(found, key=lambda each: (each.name not in alike, each))[:_SHOWN_COUNT]
