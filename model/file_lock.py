"""One writer at a time: a lock on a file, which the system takes back when the process dies."""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from model.errors import HremError

__all__ = ["exclusive_lock"]


@contextmanager
def exclusive_lock(path: Path, *, refusal: Callable[[str], HremError]) -> Iterator[None]:
    """Hold the lock file at `path`, in a folder that is there; who holds it is written inside.

    Args:
        path: Stays when the lock is given back: a file that is removed could be held twice.
        refusal: Makes the error for a lock that another process holds, from "process 12 since
            2026-01-01T12:00:00+00:00".
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise refusal(_holder(os.pread(descriptor, 200, 0))) from error
        note = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(note) + "\n").encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _holder(note: bytes) -> str:
    """Return who wrote a note; it may be empty, when the lock was taken just now."""
    try:
        found = json.loads(note)
        return f"process {found['pid']} since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
