"""An encoder that is as slow as a test wants, and waiting for what comes of that."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI

__all__ = ["hold_encoder", "wait_until"]


def hold_encoder(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Make the encoder wait for the returned event before it does its real work."""
    released = threading.Event()
    encoder = app.state.served.serving.current.encoder.encoder
    for name in ("encode_captions", "encode_pixels"):
        real: Callable[..., Any] = getattr(encoder, name)

        def slow(items: Any, real: Callable[..., Any] = real) -> Any:
            released.wait(20)
            return real(items)

        monkeypatch.setattr(encoder, name, slow)
    return released


async def wait_until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.005)
