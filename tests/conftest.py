"""Shape checks on, one torch thread, and no network but loopback."""

import os
import socket
from typing import Any

# Sums are split among threads, and in another order on another thread: tests that compare bits of
# two processes or threads need one each. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

# Every jaxtyping annotation of the network is checked at run time during the tests.
install_import_hook(
    [
        "model.encoders",
        "model.alignment",
        "model.explanation",
        "model.metrics",
        "model.ranking",
        "model.training.relation",
        "model.training.losses",
        "model.training.objective",
    ],
    "beartype.beartype",
)

import pytest
import torch

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _no_network_but_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> Any:
        if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
            raise AssertionError(f"a test wants to reach {address}; tests use loopback only")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
