"""Keys over HTTP: who is let in where, how often, and what the others are told."""

import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.access.gatekeeper import AccessControl
from service.access.token_bucket import TokenBucket
from service.access.wrong_keys import WrongKeys
from tests.unit.service.conftest import ClientOf

pytestmark = pytest.mark.anyio

KEY = "page-key-0123456789abcdef"
SLOW_KEY = "slow-key-0123456789abcdef"
ADMIN_KEY = "admin-key-0123456789abcdef"
KEYS = f"""
[[keys]]
name = "page"
key = "{KEY}"
[[keys]]
name = "slow"
key = "{SLOW_KEY}"
rate_per_minute = 6
burst = 3
[[keys]]
name = "operator"
key = "{ADMIN_KEY}"
admin = true
"""
OPEN = ["/", "/page/style.css", "/docs", "/docs/start.js", "/openapi.json", "/health/live"]
CLOSED = [
    "/info", "/metrics", "/images/x", "/images/x/thumbnail", "/items/images/x", "/nothing",
    "/session", "http://localhost//info", "/page", "/healthy", "/health",
    "/page/../info", "/docsx", "/%69nfo",
]  # fmt: skip


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code)
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "content-security-policy" in answer.headers
    for key in (KEY, SLOW_KEY, ADMIN_KEY):
        assert key not in answer.text
    return problem


@pytest.mark.parametrize("path", OPEN)
async def test_pages_description_and_health_need_no_key(
    client: httpx.AsyncClient, path: str
) -> None:
    assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("path", CLOSED)
async def test_everything_else_needs_a_key_whether_it_is_there_or_not(
    client: httpx.AsyncClient, path: str
) -> None:
    for headers in ({}, bearer("wrong"), {"Authorization": f"Basic {KEY}"}):
        answer = await client.get(path, headers=headers)
        refused(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert (await client.get(path, headers=bearer(KEY))).status_code != 401


@pytest.mark.parametrize(
    "value",
    ["Bearer", "Bearer ", f"Bearer x{KEY}", f"Bearer {KEY}x", KEY, f"Bearer {KEY[:-1]}",
     f"Bearer {KEY.upper()}", f"Bearer {KEY},{KEY}", f"Token {KEY}", "Bearer \xff\xfe"],
)  # fmt: skip
async def test_almost_a_key_is_none(client: httpx.AsyncClient, value: str) -> None:
    answer = await client.get("/info", headers=[(b"authorization", value.encode("latin-1"))])
    refused(answer, 401, "unauthorized")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_any_key_searches(client: httpx.AsyncClient, scheme: str) -> None:
    for key in (KEY, ADMIN_KEY):
        headers = {"Authorization": f"{scheme} {key}"}
        answer = await client.post("/search/text", json={"query": "red"}, headers=headers)
        assert answer.status_code == 200


async def test_a_request_without_a_key_is_refused_before_its_body_is_read(
    client: httpx.AsyncClient,
) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield bytes(65_536)

    answer = await client.post("/search/image", content=endless())
    refused(answer, 401, "unauthorized")
    assert answer.headers["connection"] == "close"
    assert read == 0


async def test_only_an_admin_key_opens_what_is_for_admins(client: httpx.AsyncClient) -> None:
    for path in ("/admin", "/admin/", "/admin/reload", "/admin/nothing"):
        refused(await client.post(path), 401, "unauthorized")
        refused(await client.post(path, headers=bearer(KEY)), 403, "forbidden")
        answer = await client.post(path, headers=bearer(ADMIN_KEY))
        assert answer.status_code not in (401, 403)


async def test_without_keys_everything_is_open_but_what_is_for_admins(
    app: FastAPI, connect: ClientOf
) -> None:
    async with connect(app) as client:
        assert (await client.get("/info")).status_code == 200
        assert (await client.get("/info", headers=bearer("any"))).status_code == 200
        for headers in ({}, bearer(ADMIN_KEY)):
            problem = refused(await client.post("/admin/reload", headers=headers), 403, "forbidden")
        assert "--keys" in problem["detail"]


async def test_a_key_over_its_rate_waits_and_the_others_do_not(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        assert (await client.get("/info", headers=bearer(SLOW_KEY))).status_code == 200
    answer = await client.get("/info", headers=bearer(SLOW_KEY))
    refused(answer, 429, "rate_limited")
    # Six a minute: the next comes after ten seconds.
    assert 9 <= int(answer.headers["retry-after"]) <= 10
    assert (await client.get("/info", headers=bearer(KEY))).status_code == 200
    assert (await client.get("/health/live")).status_code == 200


async def test_guessing_is_slowed_down_even_for_the_right_guess(client: httpx.AsyncClient) -> None:
    for guess in range(10):
        answer = await client.get("/info", headers=bearer(f"guess-{guess}"))
        refused(answer, 401, "unauthorized")
    for key in ("guess-11", KEY):
        answer = await client.get("/info", headers=bearer(key))
        refused(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 6
    refused(await client.post("/session", json={"key": KEY}), 429, "rate_limited")


async def test_a_key_shown_before_goes_on_while_its_address_is_locked_out(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/info", headers=bearer(KEY))).status_code == 200
    for guess in range(10):
        await client.get("/info", headers=bearer(f"guess-{guess}"))
    assert (await client.get("/info", headers=bearer(KEY))).status_code == 200
    assert (await client.post("/session", json={"key": KEY})).status_code == 204
    # A right key that this address never showed is like a guess.
    for key in ("guess-11", ADMIN_KEY):
        refused(await client.get("/info", headers=bearer(key)), 429, "rate_limited")


async def test_one_old_key_asked_with_for_ever_locks_nobody_out(client: httpx.AsyncClient) -> None:
    for _ in range(50):
        answer = await client.get("/info", headers=bearer("old-key-of-a-script"))
        refused(answer, 401, "unauthorized")
    assert (await client.get("/info", headers=bearer(KEY))).status_code == 200


async def test_refusals_are_counted_and_logged_by_name_never_by_key(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def refusals() -> float:
        text = (await client.get("/metrics", headers=bearer(KEY))).text
        found = re.search(r'^hrem_problems_total{code="unauthorized"} (\S+)$', text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    before = await refusals()
    with caplog.at_level("DEBUG"):
        await client.get("/info", headers=bearer("wrong-key-of-somebody"))
        await client.get("/info", headers=bearer(KEY))
    assert await refusals() == before + 1
    ours = [record for record in caplog.records if record.name.startswith("service")]
    assert [record.fields["key"] for record in ours if hasattr(record, "fields")] == [None, "page"]
    logged = repr([vars(record) for record in ours])
    assert "wrong-key-of-somebody" not in logged and KEY not in logged


async def test_a_reload_brings_new_keys_and_a_wrong_file_changes_nothing(
    guarded: FastAPI, client: httpx.AsyncClient, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    access = guarded.state.access
    for _ in range(3):
        await client.get("/info", headers=bearer(SLOW_KEY))
    keys.write_text("[[keys]")
    assert not access.reload(keys)
    assert "the keys read before stay valid (page, slow, operator)" in caplog.text
    assert (await client.get("/info", headers=bearer(KEY))).status_code == 200
    new = "another-key-0123456789"
    keys.write_text(KEYS.replace(KEY, new))
    assert access.reload(keys)
    refused(await client.get("/info", headers=bearer(KEY)), 401, "unauthorized")
    assert (await client.get("/info", headers=bearer(new))).status_code == 200
    # A reload is no way to a new rate.
    refused(await client.get("/info", headers=bearer(SLOW_KEY)), 429, "rate_limited")


async def test_what_is_no_request_passes(guarded: FastAPI) -> None:
    seen = []

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await AccessControl(inner, guarded.state.access)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


# The parts.


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_its_burst_and_fills_at_its_rate() -> None:
    clock = Clock()
    bucket = TokenBucket(rate_per_minute=30, burst=2, clock=clock)
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 2.0]
    clock.now = 1.0
    assert bucket.take() == pytest.approx(1.0)
    clock.now = 2.0
    assert bucket.take() == 0.0
    clock.now = 1_000.0
    assert [bucket.take() for _ in range(3)] == [0.0, 0.0, 2.0]


@pytest.fixture
def guess_all() -> Callable[[WrongKeys, str], None]:
    def guess(wrong_keys: WrongKeys, address: str) -> None:
        for number in range(10):
            wrong_keys.count(address, bytes([number]))

    return guess


def test_an_ipv6_customer_is_one_address(guess_all: Callable[[WrongKeys, str], None]) -> None:
    wrong_keys = WrongKeys(clock=Clock())
    guess_all(wrong_keys, "2001:db8:1:2::1")
    assert wrong_keys.wait_s("2001:db8:1:2:ffff::9", b"new") == 6
    assert wrong_keys.wait_s("2001:db8:1:3::1", b"new") == 0
    guess_all(wrong_keys, "::ffff:192.0.2.1")
    assert wrong_keys.wait_s("192.0.2.1", b"new") == 6
    assert wrong_keys.wait_s("192.0.2.2", b"new") == 0


def test_a_right_key_goes_on_from_the_address_that_showed_it_and_no_other(
    guess_all: Callable[[WrongKeys, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.access.wrong_keys.MAX_SHOWN_KEYS", 2)
    wrong_keys = WrongKeys(clock=Clock())
    for address in ("192.0.2.1", "192.0.2.2"):
        guess_all(wrong_keys, address)
    wrong_keys.remember_right("192.0.2.1", b"right")
    assert wrong_keys.wait_s("192.0.2.1", b"right") == 0
    assert wrong_keys.wait_s("192.0.2.2", b"right") == 6
    for number in range(2):
        wrong_keys.remember_right("192.0.2.9", bytes([number]))
    assert wrong_keys.wait_s("192.0.2.1", b"right") == 6


def test_guesses_are_forgiven_in_time_and_addresses_forgotten(
    guess_all: Callable[[WrongKeys, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    wrong_keys = WrongKeys(clock=clock)
    monkeypatch.setattr("service.access.wrong_keys.MAX_ADDRESSES", 2)
    guess_all(wrong_keys, "192.0.2.1")
    clock.now = 6.0
    assert wrong_keys.wait_s("192.0.2.1", b"new") == 0
    wrong_keys.count("192.0.2.1", b"new")
    assert wrong_keys.wait_s("192.0.2.1", b"newer") == 6
    for other in ("192.0.2.2", "192.0.2.3"):
        wrong_keys.count(other, b"x")
    assert wrong_keys.wait_s("192.0.2.1", b"newer") == 0


async def refused_by_route(client: httpx.AsyncClient) -> Counter[str]:
    exposed = (await client.get("/metrics", headers=bearer(ADMIN_KEY))).text
    line = re.compile(r'hrem_requests_total\{method="GET",route="([^"]+)",status="401"\} (\S+)')
    return Counter({route: int(float(count)) for route, count in line.findall(exposed)})


async def test_what_is_refused_for_its_key_is_counted_by_its_route(
    client: httpx.AsyncClient,
) -> None:
    before = await refused_by_route(client)
    for path in ("/metrics", "/metrics", "/images/abc", "/made-up"):
        assert (await client.get(path)).status_code == 401
    expected = {"/metrics": 2, "/images/{id}": 1, "other": 1}
    assert await refused_by_route(client) - before == expected


async def test_the_log_names_the_key_that_was_shown_also_where_it_is_refused(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        await client.post("/admin/reload", json={}, headers=bearer(KEY))
        for _ in range(5):
            await client.get("/info", headers=bearer(SLOW_KEY))
        await client.get("/info", headers=bearer("wrong"))
    lines = [record.fields for record in caplog.records if record.name == "service.access"]
    told = {(line["status"], line["key"]) for line in lines}
    assert {(403, "page"), (429, "slow"), (401, None)} <= told
    assert (429, None) not in told
