"""What was uploaded is let go with its request, not when the garbage collector comes by.

The collector counts objects, not bytes: with a circle around each upload of 10 MB, hundreds of MB
would wait for it.
"""

import asyncio
import base64
import gc
import http.client
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from PIL import Image

from tests.unit.service.conftest import encoded
from tests.unit.service.listening import listening

pytestmark = pytest.mark.anyio
SIZE = 1_000_000
BOUNDARY = "a-boundary"


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def _noise() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (700, 700, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def _multipart(*pictures: bytes, name: str = "file") -> tuple[str, bytes]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n'
    parts = b"".join(head.encode() + picture + b"\r\n" for picture in pictures)
    return f"multipart/form-data; boundary={BOUNDARY}", parts + f"--{BOUNDARY}--\r\n".encode()


def _json(picture: bytes, **more: Any) -> tuple[str, bytes]:
    image = {"base64": base64.b64encode(picture).decode()}
    return "application/json", json.dumps({"image": image, **more}).encode()


def _part(picture: bytes) -> tuple[str, bytes]:
    part = {"image": {"base64": base64.b64encode(picture).decode()}}
    return "application/json", json.dumps({"parts": [part], "target": "images"}).encode()


def _regions(width: int) -> tuple[str, bytes]:
    content = io.BytesIO()
    np.save(content, np.zeros((SIZE // width // 4, width), np.float32))
    return "application/x-npy", content.getvalue()


BROKEN = b"\xff\xd8\xff" + bytes(SIZE)
CUT = _noise()[: -SIZE // 3]
REQUESTS: dict[str, tuple[Callable[[], tuple[str, bytes]], str, int]] = {
    "a picture": (lambda: _multipart(_noise()), "/search/image", 200),
    "pictures": (lambda: _multipart(*[_noise()] * 3), "/search/image", 200),
    "a picture in JSON": (lambda: _json(_noise()), "/search/image", 200),
    "a picture to embed": (lambda: _multipart(_noise()), "/embed/image", 200),
    "an explained picture": (lambda: _json(_noise(), explain=True), "/search/image", 200),
    "a part": (lambda: _part(_noise()), "/search", 200),
    "a broken part": (lambda: _part(CUT), "/search", 400),
    "no picture": (lambda: _multipart(BROKEN), "/search/image", 400),
    "no picture in JSON": (lambda: _json(BROKEN), "/search/image", 400),
    "a cut picture": (lambda: _multipart(CUT), "/search/image", 400),
    "one bad of three": (lambda: _multipart(_noise(), CUT, _noise()), "/search/image", 400),
    "an unknown part": (lambda: _multipart(_noise(), name="image"), "/search/image", 422),
    "an unknown field": (lambda: _json(_noise(), limits=3), "/search/image", 422),
    "a body that ends": (
        lambda: (_multipart(_noise())[0], _multipart(_noise())[1][:-99]),
        "/search/image",
        422,
    ),
    "regions": (lambda: _regions(8), "/search/image", 422),
}


def _bytes_held_by(garbage: list[Any]) -> int:
    held = {
        id(one): one
        for holder in garbage
        for one in [holder, *gc.get_referents(holder)]
        if isinstance(one, bytes | bytearray | memoryview | np.ndarray)
    }
    return sum(memoryview(one).nbytes for one in held.values())


@pytest.mark.parametrize("name", REQUESTS)
async def test_nothing_of_an_upload_waits_for_the_collector(app: FastAPI, name: str) -> None:
    make, path, status = REQUESTS[name]
    content_type, body = make()

    def ask(port: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", path, body, {"Content-Type": content_type})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    async with listening(app) as port:
        assert await asyncio.to_thread(ask, port) == status
        await asyncio.sleep(0.1)
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        assert _bytes_held_by(gc.garbage) < SIZE / 10
