"""Which tar shards a source means: one file, a folder of shards, or a pattern.

    shards/train-0000.tar      shards/      shards/*.tar      shards/train-{0000..0063}.tar

A pattern may hold `*`, `**`, `?`, `[..]`, `{a,b}` and `{first..last}`; it is quoted in a shell.
"""

import glob
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from index_builder.sources.images_root import not_below
from index_builder.sources.picture_file import PICTURE_ENDINGS
from index_builder.sources.problems import Problems
from model.errors import DataError

__all__ = ["ShardFiles", "is_folder_of_shards", "is_pattern", "is_shard"]

_SPECIAL = re.compile(r"[*?\[{]")
_GLOB = re.compile(r"[*?\[]")
_RANGE = re.compile(r"([0-9]+)\.\.([0-9]+)")
_MAX_SHARD_COUNT = 100_000


@dataclass(frozen=True)
class ShardFiles:
    """Shards, sorted by name.

    Attributes:
        description: What they are called together.
        root: What names are relative to, absolute, without symbolic links.
        names: Posix paths of the shards, at least one.
    """

    description: str
    root: Path
    names: tuple[str, ...]

    @classmethod
    def find(cls, source: Path) -> "ShardFiles":
        """Return the shards of a `.tar` file, a folder of them or a pattern.

        The root is the folder, that of the file, or the part of the pattern before its first
        special character.

        Raises:
            DataError: There are none, or some of those named are missing.
        """
        if is_pattern(source):
            base, found = _matches(source)
        elif source.is_dir():
            base, found = source, [path for path in source.iterdir() if is_shard(path)]
        else:
            base, found = source.parent, [source]
        names = sorted({Path(os.path.relpath(path, base)).as_posix() for path in found})
        description = f"{source} ({len(names):,} shard{'s' if len(names) > 1 else ''})"
        return cls(description, base.resolve(), tuple(names))

    def below(self, images_root: Path) -> "ShardFiles":
        """Return the same shards with names relative to another root.

        Raises:
            DataError: They do not lie below it.
        """
        root = images_root.resolve()
        places = [self.root / name for name in self.names]
        if outside := [place for place in places if not place.is_relative_to(root)]:
            raise not_below(outside[0], root)
        names = tuple(place.relative_to(root).as_posix() for place in places)
        return ShardFiles(self.description, root, names)


def is_shard(path: Path) -> bool:
    """Return whether a path has the name of a shard."""
    return path.suffix.lower() == ".tar" and not path.name.startswith(".")


def is_pattern(path: Path) -> bool:
    """Return whether a path is a pattern: it has special characters and does not exist."""
    if not _SPECIAL.search(str(path)):
        return False
    try:
        return not path.exists()
    except OSError:  # too long for a name
        return True


def is_folder_of_shards(folder: Path) -> bool:
    """Return whether a folder holds shards and neither pictures nor other folders.

    Hidden names do not count. So a tar file that lies in a tree of pictures changes nothing.

    Raises:
        DataError: The folder cannot be listed.
    """
    has_shard = False
    try:
        with os.scandir(folder) as found:
            for each in found:
                path = Path(each.name)
                if each.name.startswith("."):
                    continue
                if path.suffix.lower() in PICTURE_ENDINGS or each.is_dir(follow_symlinks=False):
                    return False
                has_shard = has_shard or is_shard(path)
    except OSError as error:
        raise DataError(f"{folder} cannot be listed: {error.strerror}") from error
    return has_shard


def _matches(pattern: Path) -> tuple[Path, list[Path]]:
    """Return the folder that a pattern begins with, and the shards that it means."""
    found: list[Path] = []
    missing = Problems(str(pattern))
    for one in _expanded(str(pattern)):
        if _GLOB.search(one):
            names = glob.iglob(one, recursive=True)  # noqa: PTH207 - Path.glob shows hidden names
            found += [path for path in map(Path, names) if is_shard(path)]
        elif Path(one).is_file():
            found.append(Path(one))
        else:
            missing.add(f"there is no {one}")
    missing.refuse()
    if not found:
        raise DataError(f"{pattern} matches no .tar file; give another pattern, in quotes")
    fixed: Sequence[str] = pattern.parts[: _first_special(pattern.parts)]
    return Path(*fixed), found


def _first_special(parts: Sequence[str]) -> int:
    return next(place for place, part in enumerate(parts) if _SPECIAL.search(part))


def _expanded(pattern: str) -> list[str]:
    """Return the patterns without braces that a pattern stands for."""
    waiting = [pattern]
    done: set[str] = set()
    while waiting:
        one = waiting.pop()
        braces = re.search(r"\{([^{}]*)\}", one)
        if braces is None:
            done.add(one)
        else:
            before, after = one[: braces.start()], one[braces.end() :]
            waiting += [before + inner + after for inner in _alternatives(braces[1], pattern)]
        if len(waiting) + len(done) > _MAX_SHARD_COUNT:
            raise DataError(f"{pattern} names more than {_MAX_SHARD_COUNT:,} shards")
    return sorted(done)


def _alternatives(inner: str, pattern: str) -> Sequence[str]:
    span = _RANGE.fullmatch(inner)
    if span is None:
        if "," not in inner:
            raise DataError(f"{pattern}: braces hold {{a,b}} or {{first..last}}, found {{{inner}}}")
        return inner.split(",")
    first, last = sorted(map(int, span.groups()))
    if last - first >= _MAX_SHARD_COUNT:
        raise DataError(f"{pattern} names more than {_MAX_SHARD_COUNT:,} shards")
    width = max(map(len, span.groups())) if "0" in {group[0] for group in span.groups()} else 0
    return [f"{number:0{width}d}" for number in range(first, last + 1)]
