"""Is there memory for a checkpoint? Asked before it is loaded, so that a sentence says no.

A process that outgrows its container is killed without a word. What an index takes is checked where
its vectors are copied (a GPU); on a CPU they are mapped and the system takes them back at need.
"""

from pathlib import Path

import torch

from model.dual_encoder import files_of_dual_encoder
from model.errors import ServiceError

__all__ = ["available_bytes", "check_memory"]

# The weights while they are read and while they are in the network, and what a batch needs.
_COPIES = 2
_WORKING_BYTES = 200_000_000
# Limit and use of a container, in the second and the first version of control groups.
_GROUPS = (
    ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory.current"),
    (
        "sys/fs/cgroup/memory/memory.limit_in_bytes",
        "sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)


def check_memory(checkpoint: str | Path, device: str) -> None:
    """Refuse a checkpoint that would not fit where it is to run.

    Args:
        checkpoint: Folder or hub name.
        device: As torch names it.

    Raises:
        ServiceError: It needs more than there is.
        CheckpointError: There is no such checkpoint.
    """
    files = files_of_dual_encoder(checkpoint)
    weights = sum(
        path.stat().st_size
        for name, path in files.items()
        if name.endswith(".safetensors") and path.is_file()
    )
    needed = _COPIES * weights + _WORKING_BYTES
    available = available_bytes(device)
    if available is not None and needed > available:
        raise ServiceError(
            f"the checkpoint {checkpoint} takes about {needed / 1e9:.1f} GB while it is loaded but "
            f"{available / 1e9:.1f} GB are free on {device}; free some, or serve a smaller one"
        )


def available_bytes(device: str, *, root: Path = Path("/")) -> int | None:
    """Return the memory that is free on a device; None where the system does not say.

    Args:
        device: As torch names it; cpu is the memory of this machine or container.
        root: Where /proc and /sys lie.
    """
    if not device.startswith("cpu"):
        free, _ = torch.cuda.mem_get_info(device)  # pragma: no cover - not run without a GPU
        return int(free)  # pragma: no cover
    found = [_available_on_machine(root), *(_left_in_group(root, *names) for names in _GROUPS)]
    known = [size for size in found if size is not None]
    return min(known) if known else None


def _available_on_machine(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return None


def _left_in_group(root: Path, limit_file: str, use_file: str) -> int | None:
    try:
        limit, use = ((root / name).read_text().strip() for name in (limit_file, use_file))
    except OSError:
        return None
    # "max" is no limit, and so is a number beyond any machine. What the group uses counts files
    # that are cached, so this is less than what could be had.
    if not limit.isdecimal() or int(limit) >= 1 << 60:
        return None
    return max(0, int(limit) - int(use))
