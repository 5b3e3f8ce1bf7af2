"""How much memory there is: of this machine, or of the container that the process runs in.

A process that outgrows its container is killed without a word, so its limit counts, not what the
machine has. Both versions of Linux's control groups are read.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

__all__ = ["available_bytes", "total_bytes"]


@dataclass(frozen=True)
class _Group:
    """Where a version of control groups tells limit, use, and how much of it are cached files."""

    limit: str
    use: str
    statistics: str
    cached: tuple[str, ...]


_GROUPS = (
    _Group(
        "sys/fs/cgroup/memory.max",
        "sys/fs/cgroup/memory.current",
        "sys/fs/cgroup/memory.stat",
        ("inactive_file", "active_file"),
    ),
    _Group(
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
        "sys/fs/cgroup/memory/memory.stat",
        ("total_inactive_file", "total_active_file"),
    ),
)
_ROOT = Path("/")


def total_bytes(*, root: Path = _ROOT) -> int | None:
    """Return the memory of this machine or container; None where the system does not say.

    Args:
        root: Where /proc and /sys lie.
    """
    machine = _told(root / "proc/meminfo").get("MemTotal")
    found = [
        None if machine is None else machine * 1024,
        *(_limit(root / group.limit) for group in _GROUPS),
    ]
    return min((size for size in found if size is not None), default=None)


def available_bytes(device: str, *, root: Path = _ROOT) -> int | None:
    """Return the memory that is free on a device; None where the system does not say.

    Args:
        device: As torch names it; cpu is the memory of this machine or container.
        root: Where /proc and /sys lie.
    """
    if not device.startswith("cpu"):
        free, _ = torch.cuda.mem_get_info(device)  # pragma: no cover - not run without a GPU
        return int(free)  # pragma: no cover
    machine = _told(root / "proc/meminfo").get("MemAvailable")
    found = [
        None if machine is None else machine * 1024,
        *(_left_in_group(root, group) for group in _GROUPS),
    ]
    return min((size for size in found if size is not None), default=None)


def _left_in_group(root: Path, group: _Group) -> int | None:
    limit = _limit(root / group.limit)
    try:
        use = int((root / group.use).read_text())
    except (OSError, ValueError):
        return None
    if limit is None:
        return None
    # Pages of files, such as a mapped index, are in use and can be had all the same.
    statistics = _told(root / group.statistics)
    cached = sum(statistics.get(name, 0) for name in group.cached)
    return max(0, limit - max(0, use - cached))


def _limit(path: Path) -> int | None:
    """Return a group's limit; "max" is none, and so is a number beyond any machine."""
    try:
        limit = path.read_text().strip()
    except OSError:
        return None
    return int(limit) if limit.isdecimal() and int(limit) < 1 << 60 else None


def _told(path: Path) -> dict[str, int]:
    """Return the numbers of a file of lines `name number` or `name: number kB`."""
    try:
        lines = [line.replace(":", " ").split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) > 1 and line[1].isdecimal()}
