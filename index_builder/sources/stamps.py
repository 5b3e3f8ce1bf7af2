"""A stamp tells cheaply whether a file changed since it was read: its size and time of change.

It also tells whether a whole source went away, which is no fault of the pictures in it.
"""

import errno
import os
import stat
from pathlib import Path

from model.errors import DataError

__all__ = ["NO_STAMP", "SourceWatch", "Stamp", "stamp_of"]

Stamp = tuple[int, int]
NO_STAMP: Stamp = (0, 0)

# What a disk or a server says that went away; a picture that is gone says ENOENT.
_GONE = {errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EHOSTDOWN}


def stamp_of(root: Path, path: str) -> Stamp:
    """Return size in bytes and time of change in ns of a file; -1 and the error if it has none.

    For a picture inside another file (`shard.tar/member.jpg`) it is the other file's.
    """
    place = root / path
    while True:
        try:
            status = place.stat()
        except NotADirectoryError:
            place = place.parent
            continue
        except OSError as error:
            return -1, error.errno or 0
        if not stat.S_ISREG(status.st_mode):
            return -1, errno.EISDIR
        if not os.access(place, os.R_OK):
            return -1, errno.EACCES
        return status.st_size, status.st_mtime_ns


class SourceWatch:
    """Remembers which folder the pictures came from, to notice that it went away.

    Without it an unmounted disk would look like a folder of missing pictures.
    """

    def __init__(self, root: Path | None) -> None:
        """Look at the folder as it is now; None = nothing to watch."""
        self._root = root
        self._identity = None if root is None else _identity(root)

    def check(self, stamp: Stamp) -> None:
        """Refuse to set a picture aside for something that befell the whole source.

        Args:
            stamp: Of the picture.

        Raises:
            DataError: The folder is gone, or is another one than before.
        """
        if self._root is None or stamp[0] >= 0:
            return
        identity = _identity(self._root)
        if stamp[1] in _GONE or identity is None or identity != self._identity:
            raise DataError(
                f"the images' root {self._root} went away while it was read "
                f"({os.strerror(stamp[1])}); bring it back and build again: "
                "what is encoded is kept"
            )


def _identity(root: Path) -> tuple[int, int] | None:
    try:
        status = root.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
