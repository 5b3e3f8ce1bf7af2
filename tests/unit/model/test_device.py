"""Devices by name."""

import pytest
import torch

from model.device import choose_device
from model.errors import ConfigError


def test_auto_is_a_gpu_where_there_is_one() -> None:
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == "cpu"


@pytest.mark.parametrize("asked", ["abacus", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_there_is_told(asked: str) -> None:
    with pytest.raises(ConfigError, match=f"device = '{asked}': .*; use auto, cpu or cuda"):
        choose_device(asked)
