"""How much memory there is: of this machine, or of the container or service that the process is in.

A process that outgrows its control group is killed without a word, so what counts is the limit of
the group and of every group around it, not what the machine has. Both versions of Linux's control
groups are read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch

__all__ = ["available_bytes", "total_bytes"]


@dataclass(frozen=True)
class _Version:
    """A version of control groups.

    Attributes:
        folder: Where its groups lie, one folder a group.
        controller: What /proc/self/cgroup calls it.
        limit: The file of a group's limit.
        use: The file of what a group uses.
        cached: The lines of memory.stat that say how much of it are cached files.
    """

    folder: str
    controller: str
    limit: str
    use: str
    cached: tuple[str, ...]


_VERSIONS = (
    _Version(
        folder="sys/fs/cgroup",
        controller="",
        limit="memory.max",
        use="memory.current",
        cached=("inactive_file", "active_file"),
    ),
    _Version(
        folder="sys/fs/cgroup/memory",
        controller="memory",
        limit="memory.limit_in_bytes",
        use="memory.usage_in_bytes",
        cached=("total_inactive_file", "total_active_file"),
    ),
)
_ROOT = Path("/")


def total_bytes(*, root: Path = _ROOT) -> int | None:
    """Return the memory of this machine or group; None where the system does not say.

    Args:
        root: Where /proc and /sys lie.
    """
    machine = _told(root / "proc/meminfo").get("MemTotal")
    found = [
        None if machine is None else machine * 1024,
        *(_limit(group / version.limit) for version, group in _own_groups(root)),
    ]
    return min((size for size in found if size is not None), default=None)


def available_bytes(device: str, *, root: Path = _ROOT) -> int | None:
    """Return the memory that is free on a device; None where the system does not say.

    Args:
        device: As torch names it; cpu is the memory of this machine or group.
        root: Where /proc and /sys lie.
    """
    if not device.startswith("cpu"):
        free, _ = torch.cuda.mem_get_info(device)  # pragma: no cover - not run without a GPU
        return int(free)  # pragma: no cover
    machine = _told(root / "proc/meminfo").get("MemAvailable")
    found = [
        None if machine is None else machine * 1024,
        *(_left_in_group(version, group) for version, group in _own_groups(root)),
    ]
    return min((size for size in found if size is not None), default=None)


def _own_groups(root: Path) -> Iterator[tuple[_Version, Path]]:
    """Yield the folder of the group of this process and of those around it, in each version.

    Inside a container the outermost folder is the container's own group, whatever it is called
    outside; a folder that is not there says nothing.
    """
    paths: dict[str, str] = {}
    try:
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            paths |= dict.fromkeys(controllers.split(","), path)
    except (OSError, ValueError):
        pass
    for version in _VERSIONS:
        own = PurePosixPath(paths.get(version.controller, "/"))
        for place in (own, *own.parents):
            yield version, root / version.folder / place.relative_to("/")


def _left_in_group(version: _Version, group: Path) -> int | None:
    limit = _limit(group / version.limit)
    try:
        use = int((group / version.use).read_text())
    except (OSError, ValueError):
        return None
    if limit is None:
        return None
    # Pages of files, such as a mapped index, are in use and can be had all the same.
    statistics = _told(group / "memory.stat")
    cached = sum(statistics.get(name, 0) for name in version.cached)
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
