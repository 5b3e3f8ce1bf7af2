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
    is_without_cuda = torch.version.cuda is None and asked.startswith("cuda")
    remedy = "auto or cpu, or install" if is_without_cuda else "auto, cpu or cuda"
    with pytest.raises(ConfigError, match=f"device = '{asked}': .*; use {remedy}"):
        choose_device(asked)
