"""Is there memory for a checkpoint? Asked before it is loaded, so that a sentence says no.

What an index takes is checked where its vectors are copied (a GPU); on a CPU they are mapped, and
the system takes them back at need.
"""

from pathlib import Path

from model.dual_encoder import files_of_dual_encoder
from model.errors import ServiceError
from model.memory import available_bytes

__all__ = ["check_memory"]

# The weights while they are read and while they are in the network, and what a batch needs.
_COPIES = 2
_WORKING_BYTES = 200_000_000


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
