"""What to do about a file of an index that is missing, cut short or altered."""

from model.errors import DamagedIndexError

__all__ = ["damaged"]


def damaged(fault: str) -> DamagedIndexError:
    """Return the error of a damaged file, which goes on with what to do, the quickest first.

    Args:
        fault: Which file it is, what was found there and what was expected.
    """
    return DamagedIndexError(
        f"{fault}; `python -m index_builder verify` tells what else is damaged, then `rollback` to "
        "a version that is whole, restore a backup, or build the index again"
    )
