"""A network in eval mode for a while, whatever mode it is in."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["in_eval_mode"]


@contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Switch to eval mode, and at the end back to training mode if that was on.

    A network that is in eval mode already is left alone: switching would cost HREM the fingerprint
    that it remembers.
    """
    was_training = network.training
    if was_training:
        network.eval()
    try:
        yield
    finally:
        if was_training:
            network.train()
