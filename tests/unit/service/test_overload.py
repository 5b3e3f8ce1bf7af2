"""Only the encoder's speed is made up here: it waits before it does its real work."""

import asyncio
import threading
import time
from collections.abc import Awaitable
from typing import Any

import httpx
import pytest

from service.pairs.workers import READER_THREADS
from tests.unit.service.conftest import ClientOf, MakeApp, encoded
from tests.unit.service.slow_encoder import hold_encoder, wait_until
from tests.unit.service.test_bad_input import check_problem
from tests.worlds import captions_of, made_up_picture

pytestmark = pytest.mark.anyio


async def test_the_event_loop_answers_while_the_encoder_works(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    released = hold_encoder(app, monkeypatch)
    async with connect(app) as client:
        files = [("file", ("a.png", encoded(made_up_picture(number)))) for number in range(9)]
        searches = [
            asyncio.create_task(client.post("/search/text", json={"query": "red"})),
            asyncio.create_task(client.post("/search/image", files=files)),
        ]
        await wait_until(lambda: app.state.served.admission.waiting_items == 10)
        started = time.perf_counter()
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/info")).status_code == 200
        assert time.perf_counter() - started < 1
        assert not any(search.done() for search in searches)
        released.set()
        text, image = await asyncio.gather(*searches)
        assert (text.status_code, image.status_code) == (200, 200)
        assert len(image.json()["results"]) == 9
        assert text.json()["timing_ms"]["encode"] > 0


async def test_clients_at_the_same_time_get_their_own_answers(
    make_app: MakeApp, connect: ClientOf
) -> None:
    async with connect(make_app()) as client:

        def search(number: int) -> Awaitable[httpx.Response]:
            if number % 2:
                caption = captions_of(number)[0]
                return client.post("/search/text", json={"query": caption, "target": "captions"})
            # Two groups of decoded pictures each, so that requests wait for each other.
            files = [("file", ("a.png", encoded(made_up_picture(number))))] * 9
            return client.post("/search/image", files=files)

        together = await asyncio.gather(*(search(number) for number in range(12)))
        for number, answer in enumerate(together):
            alone = (await search(number)).json()["results"]
            assert [result["hits"] for result in answer.json()["results"]] == [
                result["hits"] for result in alone
            ]


async def test_more_than_the_queue_holds_is_refused_at_once(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(max_waiting_items=32)
    released = hold_encoder(app, monkeypatch)
    async with connect(app) as client:

        def search(count: int) -> asyncio.Task[httpx.Response]:
            return asyncio.create_task(
                client.post("/search/text", json={"query": ["red"] * count, "limit": 1})
            )

        waiting = [search(16), search(15)]
        await wait_until(lambda: app.state.served.admission.waiting_items == 31)
        refused = await search(2)
        check_problem(refused, 503, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        waiting.append(search(1))
        await wait_until(lambda: app.state.served.admission.waiting_items == 32)
        check_problem(await client.get("/health/ready"), 503, "not_ready")
        assert (await client.get("/health/live")).status_code == 200
        released.set()
        answers = await asyncio.gather(*waiting)
        assert [answer.status_code for answer in answers] == [200, 200, 200]
        assert (await search(32)).status_code == 200
        assert app.state.served.admission.waiting_items == 0


async def test_a_query_past_its_deadline_is_given_up_and_the_next_one_answered(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(query_timeout_ms=300)
    async with connect(app) as client:
        released = hold_encoder(app, monkeypatch)
        slow, behind = await asyncio.gather(
            client.post("/search/text", json={"query": "red"}),
            client.post("/search/image", files={"file": encoded(made_up_picture(0))}),
        )
        check_problem(slow, 504, "deadline_exceeded")
        check_problem(behind, 504, "deadline_exceeded")
        released.set()
        assert (await client.post("/search/text", json={"query": "red"})).status_code == 200
        assert app.state.served.admission.waiting_items == 0


async def test_a_service_that_missed_a_deadline_is_ready_when_a_query_is_answered_again(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(query_timeout_ms=300)
    async with connect(app) as client:
        released = hold_encoder(app, monkeypatch)
        slow = await client.post("/search/text", json={"query": "red"})
        check_problem(slow, 504, "deadline_exceeded")
        check_problem(await client.get("/health/ready"), 503, "not_ready")
        assert (await client.get("/health/live")).status_code == 200
        released.set()
        # Being answered is what is asked here, not how fast on a busy machine.
        app.state.served.admission.timeout_s = 10
        assert (await client.get("/health/ready")).status_code == 200


async def test_one_query_is_tried_for_all_who_ask_whether_it_is_ready(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    pair = app.state.served.serving.current
    released, trials, real = threading.Event(), [], pair.answer_canary

    def slow() -> None:
        trials.append(1)
        released.wait(20)
        real()

    monkeypatch.setattr(pair, "answer_canary", slow)
    app.state.served.admission.is_in_doubt = True
    async with connect(app) as client:
        asking = [asyncio.create_task(client.get("/health/ready")) for _ in range(5)]
        await wait_until(lambda: bool(trials))
        released.set()
        assert [answer.status_code for answer in await asyncio.gather(*asking)] == [200] * 5
        assert (await client.get("/health/ready")).status_code == 200
    assert len(trials) == 1


async def test_a_scrape_does_not_wait_for_the_query_that_is_tried(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    pair = app.state.served.serving.current
    released, real = threading.Event(), pair.answer_canary

    def slow() -> None:
        released.wait(60)
        real()

    monkeypatch.setattr(pair, "answer_canary", slow)
    admission = app.state.served.admission
    admission.is_in_doubt, admission.timeout_s = True, 60
    async with connect(app) as client:
        async with asyncio.timeout(20):
            assert "hrem_ready 0.0" in (await client.get("/metrics")).text
        released.set()
        await wait_until(lambda: not admission.is_in_doubt)
        assert "hrem_ready 1.0" in (await client.get("/metrics")).text


async def test_the_log_tells_why_queries_fail(
    make_app: MakeApp,
    connect: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = make_app()

    def fail() -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(app.state.served.serving.current, "answer_canary", fail)
    app.state.served.admission.is_in_doubt = True
    async with connect(app) as client:
        problem = check_problem(await client.get("/health/ready"), 503, "not_ready")
    assert "RuntimeError" in problem["detail"]
    (line,) = [record for record in caplog.records if record.name == "service.readiness"]
    assert line.exc_info is not None and line.exc_info[0] is RuntimeError


@pytest.mark.parametrize(
    ("address", "busy"),
    [
        ("/images/{}", "readers"),
        ("/images/{}", "decoders"),
        ("/images/{}/thumbnail", "readers"),
        ("/items/images/{}", "readers"),
        ("/items/captions/{}", "readers"),
    ],
)
async def test_looking_up_an_item_has_a_deadline_and_a_place_in_the_queue_as_well(
    make_app: MakeApp, connect: ClientOf, address: str, busy: str
) -> None:
    app = make_app(decode_threads=1)
    admission, workers = app.state.served.admission, app.state.served.workers
    async with connect(app) as client:
        target = "captions" if "captions" in address else "images"
        search = await client.post("/search/text", json={"query": "red", "target": target})
        path = address.format(search.json()["results"][0]["hits"][0]["id"])
        assert (await client.get(path)).status_code == 200
        released = threading.Event()
        for _ in range(READER_THREADS):
            getattr(workers, busy).submit(released.wait, 20)
        admission.timeout_s = 0.3
        try:
            check_problem(await client.get(path), 504, "deadline_exceeded")
        finally:
            released.set()
        admission.max_waiting_items = 0
        check_problem(await client.get(path), 503, "overloaded")


async def test_a_body_that_comes_too_slowly_is_given_up(
    make_app: MakeApp, connect: ClientOf
) -> None:
    async def drip() -> Any:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.1)

    async with connect(make_app(upload_timeout_ms=150)) as client:
        headers = {"content-type": "application/json"}
        answer = await client.post("/search/text", content=drip(), headers=headers)
        check_problem(answer, 408, "upload_timeout")


async def test_a_closed_service_is_not_ready_and_answers_nothing(
    make_app: MakeApp, connect: ClientOf
) -> None:
    app = make_app()
    app.state.served.close()
    async with connect(app) as client:
        check_problem(await client.get("/health/ready"), 503, "not_ready")
        check_problem(await client.post("/search/text", json={"query": "red"}), 503, "overloaded")
