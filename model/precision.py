"""The precision that a network multiplies in: float32, or bfloat16 by autocast.

In bfloat16 convolutions, linear layers and GRUs multiply rounded operands and add up in float32;
the weights stay float32, and so does the fingerprint.
"""

from typing import Literal, TypeAlias

import torch

__all__ = ["Precision", "is_quick"]

Precision: TypeAlias = Literal["float32", "bfloat16"]

# What torch calls the instructions that multiply bfloat16, on x86 and on Arm.
_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16")


def is_quick(precision: Precision, device: str) -> bool:
    """Return whether `device` has instructions for products in this precision.

    A CPU without them converts back and forth, and is slower than in float32.
    """
    if precision == "float32":
        return True
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return kind != "cpu" or any(capabilities.get(name, False) for name in _INSTRUCTIONS)
