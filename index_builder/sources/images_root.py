"""What to do where pictures do not lie below the folder that their paths are relative to."""

import os
from pathlib import Path

from model.errors import DataError

__all__ = ["not_below", "way_to_both"]


def not_below(place: Path, root: Path) -> DataError:
    """Return the error for pictures that do not lie below the images' root.

    Args:
        place: The folder of pictures, or a shard; absolute.
        root: The images' root; absolute.
    """
    if root.is_dir():
        way_out = way_to_both(place, root)
    else:
        way_out = "that is no folder: if the pictures moved, say where to with --images-root"
    return DataError(f"{place} does not lie below the images' root {root}; {way_out}")


def way_to_both(place: Path, root: Path) -> str:
    """Return how pictures in two folders come into one index; both absolute."""
    both = Path(os.path.commonpath([place, root]))
    if both == Path(both.anchor):
        return f"put these pictures below {root}"
    return (
        f"put these pictures below {root}, or build again with the folder that holds both, "
        f"--images {both}: what is known is not encoded again"
    )
