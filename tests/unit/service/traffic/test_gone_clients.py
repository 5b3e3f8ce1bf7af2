"""A client that hangs up is not worked for any more; its bytes go over a real socket."""

import asyncio
import threading
from typing import Any

import pytest

from tests.unit.service.conftest import MakeApp
from tests.unit.service.listening import listening, search_request
from tests.unit.service.slow_encoder import wait_until

pytestmark = pytest.mark.anyio


async def test_what_a_gone_client_asked_for_is_dropped(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    admission = app.state.served.admission
    encoder = app.state.served.serving.current.encoder.encoder
    begun, released, encoded = threading.Event(), threading.Event(), []
    real = encoder.encode_captions

    def slow(captions: list[str]) -> Any:
        begun.set()
        released.wait(20)
        encoded.extend(captions)
        return real(captions)

    monkeypatch.setattr(encoder, "encode_captions", slow)
    async with listening(app) as port:
        writers = []
        for query in ("a first one", "a gone one", "a staying one"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(search_request(query))
            await wait_until(lambda: admission.waiting_items == len(writers) + 1 and begun.is_set())
            writers.append((reader, writer))
        writers[1][1].close()
        await wait_until(lambda: admission.waiting_items == 2)
        released.set()
        for place in (0, 2):
            assert b"200 OK" in await asyncio.wait_for(writers[place][0].readline(), 10)
            writers[place][1].close()
    assert encoded == ["a first one", "a staying one"]
