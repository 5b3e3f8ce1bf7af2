"""What stands for a kill in a test of one process."""

import pytest

__all__ = ["PART_SIZE", "StoppedError", "stop"]

PART_SIZE = 4


class StoppedError(Exception):
    """What stands for a kill."""


def stop(run, encoded, *, at, **changes):
    """Run a build or an addition that ends when batch `at` of it is to be encoded."""
    encoded.stop_at = encoded.batch_count + at
    with pytest.raises(StoppedError):
        run(**changes)
    encoded.stop_at, encoded.count = None, 0
