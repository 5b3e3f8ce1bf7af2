"""Where a network computes, as asked for on the command line."""

import torch

from model.errors import ConfigError

__all__ = ["choose_device"]


def choose_device(asked: str) -> str:
    """Return torch's name of the device `asked` for: cpu, cuda, cuda:N, or auto, a GPU if any.

    Raises:
        ConfigError: torch has no such device here.
    """
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return str(torch.empty(0, device=asked).device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        if reason.startswith("Expected one of"):  # and then come twenty that nobody has
            reason = "there is no such kind of device"
        if torch.version.cuda is None and asked.startswith("cuda"):
            remedy = "use auto or cpu, or install a build of torch with CUDA"
        else:
            remedy = "use auto, cpu or cuda"
        raise ConfigError([f"device = {asked!r}: {reason}; {remedy}"]) from error
