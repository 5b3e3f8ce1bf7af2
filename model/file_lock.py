"""One writer at a time: a lock on a file, which the system takes back when the process dies."""

import errno
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from model.errors import HremError

__all__ = ["exclusive_lock", "living_holder"]


@contextmanager
def exclusive_lock(path: Path, *, refusal: Callable[[str], HremError]) -> Iterator[None]:
    """Hold the lock file at `path`, in a folder that is there; who holds it is written inside.

    Args:
        path: Stays when the lock is given back; only who holds it may remove it.
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
        if not _is_at(descriptor, path):  # removed meanwhile: others would hold a new file
            raise refusal("another process")
        note = {"pid": os.getpid(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(note) + "\n").encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def living_holder(path: Path) -> str | None:
    """Return who holds a lock file, without trying to take it; None if nobody seems to.

    The process of that number may be another one, where the holder was killed long ago.
    """
    try:
        note = path.read_bytes()
        process = int(json.loads(note)["pid"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    try:
        os.kill(process, 0)
    except PermissionError:
        pass  # it lives and is somebody else's
    except OSError:
        return None
    return _holder(note)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(note: bytes) -> str:
    """Return who wrote a note; it may be empty, when the lock was taken just now."""
    try:
        found = json.loads(note)
        return f"process {found['pid']} since {found['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
