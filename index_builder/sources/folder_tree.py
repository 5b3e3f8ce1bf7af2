"""A folder of pictures with folders in it."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from index_builder.sources.entries import ImageEntry, Rejection
from index_builder.sources.images_root import not_below
from index_builder.sources.picture_file import PICTURE_ENDINGS, read_picture_file
from index_builder.sources.problems import is_unicode
from model.errors import DataError
from model.identifiers import image_id_for_path

__all__ = ["LINKS_TO_FOLDERS", "FolderTree", "told_passed_over"]

LINKS_TO_FOLDERS = "links to folders"
_NAMES = {"": "without an ending"}
_SHOWN_COUNT = 8


@dataclass(frozen=True)
class FolderTree:
    """The pictures of a folder tree, sorted by path.

    Hidden names and files without the ending of a picture are passed over; symbolic links to
    folders are not entered. Held in memory are the names in one folder and in those it lies in.

    Attributes:
        folder: Absolute, without symbolic links, inside the root.
        root: What paths are relative to.
        passed_over: What was passed over so far, hidden names apart: files by their endings, and
            `LINKS_TO_FOLDERS`. Filled while `entries` is read.
    """

    folder: Path
    root: Path
    passed_over: Counter[str] = field(default_factory=Counter, compare=False, repr=False)

    @classmethod
    def open(cls, folder: Path, images_root: Path | None = None) -> "FolderTree":
        """Return the tree below `folder`.

        Raises:
            DataError: The folder does not lie below the root.
        """
        root, resolved = (images_root or folder).resolve(), folder.resolve()
        if not resolved.is_relative_to(root):
            raise not_below(resolved, root)
        return cls(resolved, root)

    @property
    def description(self) -> str:
        """What it is, for people."""
        return str(self.folder)

    def entries(self) -> Iterator[ImageEntry | Rejection]:
        """Yield the pictures in the order of their paths.

        What cannot be named in the index, because its name is not UTF-8, is set aside.

        Raises:
            DataError: There is no picture.
        """
        is_empty = True
        self.passed_over.clear()
        for found in self._walk(self.folder, self.folder.relative_to(self.root)):
            if isinstance(found, Rejection):
                yield found
            elif not is_unicode(found):
                yield Rejection(_shown(found), "unreadable", "its name is not UTF-8; rename it")
            else:
                is_empty = False
                yield ImageEntry(image_id_for_path(found), found, has_own_id=False)
        if is_empty:
            others = f" (passed over: {told_passed_over(self.passed_over)})"
            raise DataError(
                f"{self.folder} holds no picture{others if self.passed_over else ''}; put files "
                f"there that end in one of {' '.join(sorted(PICTURE_ENDINGS))}, or name shards by "
                f"a pattern such as '{self.folder}/*.tar'"
            )

    def read(self, entry: ImageEntry) -> bytes:
        """Return the bytes of one picture's file.

        Raises:
            EntryError: They cannot be had.
        """
        return read_picture_file(self.root, entry.path)

    def _walk(self, folder: Path, place: Path | PurePosixPath) -> Iterator[str | Rejection]:
        """Yield the paths of pictures, sorted as texts; `place` is that of the folder."""
        try:
            with os.scandir(folder) as found:
                names = sorted(key for each in found if (key := self._sort_key(each)))
        except OSError as error:
            reason = f"the folder cannot be listed: {error.strerror}"
            yield Rejection(f"{_shown(place.as_posix())}/", "unreadable", reason)
            return
        for name in names:
            if name.endswith("/"):
                yield from self._walk(folder / name, place / name)
            else:
                yield (place / name).as_posix()

    def _sort_key(self, found: os.DirEntry[str]) -> str | None:
        """Return the name of a picture, that of a folder with `/` behind it, None for others.

        With the `/`, folders entered in the order of names give all paths in the order of texts.
        """
        if found.name.startswith("."):
            return None
        if found.is_dir(follow_symlinks=False):
            return f"{found.name}/"
        if _leads_to_folder(found):
            self.passed_over[LINKS_TO_FOLDERS] += 1
            return None
        ending = Path(found.name).suffix.lower()
        if ending not in PICTURE_ENDINGS:
            self.passed_over[_shown(ending)] += 1
            return None
        return found.name


def told_passed_over(counts: Mapping[str, int]) -> str:
    """Return what was passed over as a text, the most frequent first: `2 .heic, 1 .txt`."""
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    told = [f"{count:,} {_NAMES.get(ending, ending)}" for ending, count in ordered[:_SHOWN_COUNT]]
    return ", ".join(told) + (", ..." if len(ordered) > _SHOWN_COUNT else "")


def _shown(path: str) -> str:
    r"""Return a path as it can be written: `b\xe4r.jpg` for a name that is not UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _leads_to_folder(found: os.DirEntry[str]) -> bool:
    try:
        return found.is_dir()
    except OSError:  # links in a circle: `read` tells
        return False
