"""The log: JSON line by line, whoever speaks, and silent about queries; see test_process too."""

import json
import re
import threading
import warnings
from typing import Any

import pytest
from fastapi import FastAPI

from index_builder.galleries.damaged import damaged
from model.errors import DamagedIndexError
from service.observing.json_log import error_log, log_as_json
from tests.unit.service.conftest import ClientOf, MakeApp

MARKER = "zebra-confidential"


@pytest.fixture
def json_log(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this process log as the service does, and leaves no trace of that."""
    import logging

    names = (None, "service", "uvicorn", "uvicorn.error", "uvicorn.access", "py.warnings")
    before = [
        (logger, logger.handlers, logger.level, logger.propagate)
        for logger in map(logging.getLogger, names)
    ]
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    yield log_as_json
    logging.captureWarnings(False)
    for logger, handlers, level, propagate in before:
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


async def failing_answer(app: FastAPI, connect: ClientOf, monkeypatch: pytest.MonkeyPatch) -> Any:
    def fail(captions: Any, **_: Any) -> Any:
        try:
            raise KeyError(f"nothing about {captions}")
        except KeyError as error:
            raise ValueError(f"cannot read {captions}") from error

    encoder = app.state.served.serving.current.encoder.encoder
    monkeypatch.setattr(encoder, "encode_captions", fail)
    async with connect(app) as client:
        return await client.post("/search/text", json={"query": MARKER})


@pytest.mark.anyio
@pytest.mark.parametrize("with_messages", [False, True])
async def test_an_unforeseen_error_is_one_line_that_says_where_and_not_of_what(
    make_app: MakeApp,
    connect: ClientOf,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    json_log: Any,
    with_messages: bool,
) -> None:
    app = make_app()
    json_log(with_error_messages=with_messages)
    answer = await failing_answer(app, connect, monkeypatch)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    text = capsys.readouterr().err
    assert (MARKER in text) == with_messages
    failed, access = lines_of(text)
    assert (failed["level"], failed["error"]) == ("error", "ValueError")
    assert failed["request_id"] == access["request_id"] == answer.json()["request_id"]
    assert "KeyError, which led to" in failed["traceback"]
    assert re.search(r"test_log\.py:\d+ fail$", failed["traceback"][-1])
    assert ("error_message" in failed) == with_messages


def test_what_is_damaged_of_the_index_is_told(
    capsys: pytest.CaptureFixture[str], json_log: Any
) -> None:
    json_log()
    try:
        raise damaged("galleries/images-1/items.sqlite is cut off")
    except DamagedIndexError:
        error_log.exception("a request failed")
    (line,) = lines_of(capsys.readouterr().err)
    assert line["error_message"].startswith("galleries/images-1/items.sqlite is cut off; ")


def test_warnings_and_threads_that_die_are_json_lines_too(
    capsys: pytest.CaptureFixture[str], json_log: Any
) -> None:
    json_log()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    dying = threading.Thread(target=lambda: 1 // 0, name="decoder")
    dying.start()
    dying.join()
    error_log.error("plain")
    warned, died, plain = lines_of(capsys.readouterr().err)
    assert warned["logger"] == "py.warnings"
    assert (died["message"], died["error"]) == ("thread decoder died", "ZeroDivisionError")
    assert plain["message"] == "plain"


def test_request_lines_can_be_switched_off(
    capsys: pytest.CaptureFixture[str], json_log: Any
) -> None:
    from service.observing.json_log import access_log

    json_log(with_requests=False)
    access_log.info("request")
    error_log.error("failed")
    assert [line["message"] for line in lines_of(capsys.readouterr().err)] == ["failed"]
    access_log.disabled = False
