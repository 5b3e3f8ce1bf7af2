"""Run a function in several processes that are joined by gloo, and return what each returned."""

import os
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from model.training.distributed import Collective, joined_processes

__all__ = ["run_joined"]


def run_joined(work: Callable[..., Any], *arguments: Any, size: int = 2) -> list[Any]:
    """Return `work(collective, *arguments)` of every process, in order of rank.

    Args:
        work: A function of a module, that returns tensors or plain values.
        *arguments: Of `work`.
        size: Number of processes.
    """
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(
            _run, args=(size, _free_port(), folder, work, arguments), nprocs=size, join=True
        )
        return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(size)]


def _run(
    rank: int, size: int, port: int, folder: str, work: Callable[..., Any], arguments: Any
) -> None:
    # What torchrun sets.
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    with joined_processes("cpu") as collective:
        assert collective == Collective(rank, size, rank)
        torch.save(work(collective, *arguments), Path(folder) / f"{rank}.pt")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
