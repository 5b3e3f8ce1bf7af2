"""When a client asks again, how long it waits, and when it gives up: against a real server."""

import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from service.client import Retries, ServiceProblem, ServiceUnreachableError, UnexpectedAnswerError
from tests.scripted_server import Reply, scripted_server

SEARCHED = Reply(
    body=json.dumps(
        {
            "results": [
                {"query_index": 0, "hits": [], "next_offset": None, "fits": None, "warnings": []}
            ],
            "index": {"version": 3, "checkpoint": "3f2a9c51d07be846"},
            "timing_ms": dict.fromkeys(
                ("queue", "decode", "encode", "search", "fetch", "total"), 0.0
            ),
        }
    ).encode()
)


def problem(status: int, code: str, **headers: str) -> Reply:
    body = {
        "type": f"urn:hrem:problem:{code}",
        "title": "A title",
        "status": status,
        "detail": "what happened",
        "code": code,
        "request_id": "4f1c0f6b2f0e4a31",
        "errors": [{"where": "query[0]", "code": "empty_query", "message": "no words"}],
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), named)


BUSY = problem(503, "overloaded", Retry_After="2")


@pytest.mark.parametrize("refusal", [BUSY, problem(429, "rate_limited", Retry_After="2")])
def test_a_client_comes_back_when_the_service_says(client, refusal):
    with scripted_server(refusal, refusal, SEARCHED) as server:
        answer = client.ask(server.url, "search_text", "a dog")
    assert answer.index.version == 3
    assert len(server.asked) == 3
    assert len(client.clock.slept_s) == 2
    assert all(2 <= slept < 3 for slept in client.clock.slept_s)


def test_the_same_request_is_sent_again(client):
    with scripted_server(BUSY, SEARCHED) as server:
        client.ask(server.url, "search_image", [b"picture"], limit=3)
    first, second = server.asked
    assert first.path == second.path == "/search/image"
    assert b"picture" in second.body
    assert b'{"limit": 3}' in second.body
    assert len(first.body) == len(second.body)


def test_a_date_is_honoured_too(client):
    now = datetime.now(UTC)
    dates = {
        "Retry_After": format_datetime(now + timedelta(seconds=9), usegmt=True),
        "Date": format_datetime(now, usegmt=True),
    }
    with scripted_server(problem(503, "overloaded", **dates), SEARCHED) as server:
        client.ask(server.url, "search_text", "a dog")
    assert [9 <= slept < 10 for slept in client.clock.slept_s] == [True]


def test_without_retry_after_pauses_grow_to_the_cap(client):
    retries = Retries(deadline_s=1_000, first_pause_s=1, longest_pause_s=4)
    with scripted_server(*[problem(503, "not_ready")] * 5, SEARCHED) as server:
        client.ask(server.url, "search_text", "a dog", settings={"retries": retries})
    for slept, own in zip(client.clock.slept_s, [1, 2, 4, 4, 4], strict=True):
        assert own / 2 <= slept <= own


def test_nothing_is_asked_again_after_the_deadline(client):
    with scripted_server(BUSY) as server, pytest.raises(ServiceProblem) as refused:
        client.ask(server.url, "search_text", "a dog", settings={"retries": Retries(7)})
    assert refused.value.code == "overloaded"
    assert len(server.asked) in (3, 4)  # 2 s and a bit each
    assert sum(client.clock.slept_s) < 7


def test_a_pause_that_would_pass_the_deadline_is_not_begun(client):
    busy = problem(503, "overloaded", Retry_After="3600")
    with scripted_server(busy) as server, pytest.raises(ServiceProblem):
        client.ask(server.url, "search_text", "a dog")
    assert len(server.asked) == 1
    assert client.clock.slept_s == []


@pytest.mark.parametrize("status", [400, 401, 404, 408, 409, 413, 422, 500, 502, 504])
def test_other_problems_are_told_at_once(client, status):
    reply = problem(status, "some_code", Retry_After="1")
    with scripted_server(reply, SEARCHED) as server, pytest.raises(ServiceProblem) as told:
        client.ask(server.url, "search_text", "a dog")
    assert len(server.asked) == 1
    assert (told.value.status, told.value.code) == (status, "some_code")
    assert told.value.detail == "what happened"
    assert told.value.request_id == "4f1c0f6b2f0e4a31"
    assert [(e.where, e.code) for e in told.value.errors] == [("query[0]", "empty_query")]
    assert "what happened" in str(told.value)


def test_504_is_repeated_where_that_is_asked_for(client):
    retries = Retries(repeats_timeouts=True)
    with scripted_server(problem(504, "deadline_exceeded"), SEARCHED) as server:
        client.ask(server.url, "search_text", "a dog", settings={"retries": retries})
    assert len(server.asked) == 2


def test_a_broken_connection_is_tried_again(client):
    with scripted_server(Reply(breaks_off=True), Reply(breaks_off=True), SEARCHED) as server:
        assert client.ask(server.url, "search_text", "a dog").hits == []
    assert len(server.asked) == 3


def test_where_nobody_listens_the_client_tries_until_the_deadline(client):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ServiceUnreachableError, match="python -m service"):
            client.ask(url, "search_text", "a dog", settings={"retries": Retries(5)})
    assert len(client.clock.slept_s) > 2
    assert sum(client.clock.slept_s) < 5


def test_no_answer_in_time_is_told_and_not_asked_again(client):
    late = Reply(delay_s=20)
    with scripted_server(late) as server:
        with pytest.raises(ServiceUnreachableError, match="in time"):
            client.ask(server.url, "search_text", "a dog", settings={"timeout_s": 0.2})
        assert len(server.asked) == 1


def test_a_reload_that_may_have_begun_is_not_repeated(client):
    with scripted_server(Reply(breaks_off=True)) as server:
        with pytest.raises(ServiceUnreachableError):
            client.ask(server.url, "reload")
        assert len(server.asked) == 1


def test_a_reload_that_was_refused_for_now_is_repeated(client):
    with scripted_server(BUSY, problem(409, "reload_refused")) as server:
        with pytest.raises(ServiceProblem, match="reload_refused"):
            client.ask(server.url, "reload", index="/indexes/photos")
        assert [json.loads(asked.body) for asked in server.asked] == [
            {"index": "/indexes/photos"}
        ] * 2


@pytest.mark.parametrize("method", ["is_ready", "is_live"])
def test_health_is_asked_once_and_is_false_whatever_is_wrong(client, method):
    with scripted_server(problem(503, "not_ready", Retry_After="1")) as server:
        assert client.ask(server.url, method) is False
    assert len(server.asked) == 1
    assert client.ask(server.url, method) is False  # gone
    assert client.clock.slept_s == []


def test_a_proxy_s_own_error_is_a_problem_too(client):
    page = Reply(502, b"<html>Bad\n gateway</html>")
    with scripted_server(page) as server, pytest.raises(ServiceProblem) as told:
        client.ask(server.url, "info")
    assert (told.value.status, told.value.code, told.value.request_id) == (502, "unknown", None)
    assert "<html>Bad gateway" in told.value.detail


@pytest.mark.parametrize("body", [b"<html>Welcome</html>", b"{}", b"[1]"])
def test_a_success_that_is_no_answer_is_an_error(client, body):
    with (
        scripted_server(Reply(body=body)) as server,
        pytest.raises(UnexpectedAnswerError, match="root of the service"),
    ):
        client.ask(server.url, "search_text", "a dog")


def test_a_path_prefix_and_the_key_go_with_every_request(client):
    with scripted_server(SEARCHED) as server:
        for root in ("/pictures/search", "/pictures/search/"):
            client.ask(server.url + root, "search_text", "a dog", settings={"key": "open sesame"})
    assert {asked.path for asked in server.asked} == {"/pictures/search/search/text"}
    assert {asked.headers["authorization"] for asked in server.asked} == {"Bearer open sesame"}


def test_without_a_key_none_is_sent(client):
    with scripted_server(SEARCHED) as server:
        client.ask(server.url, "search_text", "a dog")
    assert "authorization" not in server.asked[0].headers
