"""Sessions of browsers: a cookie that stands for a key, for this very page alone."""

from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.access.api_keys import ApiKey, KeyRing, digest_of, read_key_ring
from service.access.gatekeeper import SESSION_COOKIE
from service.access.sessions import SESSION_LIFETIME_S, open_session, session_key
from tests.unit.service.conftest import ClientOf

pytestmark = pytest.mark.anyio

KEY = "page-key-0123456789abcdef"
ADMIN_KEY = "admin-key-0123456789abcdef"
KEYS = (
    f'[[keys]]\nname = "page"\nkey = "{KEY}"\n'
    f'[[keys]]\nname = "operator"\nkey = "{ADMIN_KEY}"\nadmin = true\n'
)
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_session_loads_pictures_and_searches_from_the_page(
    client: httpx.AsyncClient,
) -> None:
    opened = await client.post("/session", json={"key": KEY}, headers=SAME_SITE)
    assert (opened.status_code, opened.content) == (204, b"")
    assert opened.headers["cache-control"] == "no-store"
    assert (await client.get("/info")).status_code == 200
    found = await client.post("/search/text", json={"query": "red"}, headers=SAME_SITE)
    picture = found.json()["results"][0]["hits"][0]["image"]["thumbnail_url"]
    assert (await client.get(picture)).status_code == 200


async def test_the_cookie_is_for_this_site_alone_out_of_scripts_reach_and_holds_no_key(
    guarded: FastAPI,
) -> None:
    for scheme, is_secure in (("http", False), ("https", True)):
        transport = httpx.ASGITransport(app=guarded)
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://localhost") as one:
            opened = await one.post("/session", json={"key": KEY})
        [cookie] = SimpleCookie(opened.headers["set-cookie"]).values()
        assert cookie.key == SESSION_COOKIE
        assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "strict", "/")
        assert cookie["max-age"] == str(SESSION_LIFETIME_S)
        assert cookie["domain"] == ""
        assert bool(cookie["secure"]) is is_secure
        for secret in (KEY, digest_of(KEY).hex()):
            assert secret not in cookie.value


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"key": "wrong-key-0123456789abcdef"}, 401, "unauthorized"),
        ({"key": ""}, 422, "invalid_request"),
        ({"key": 7}, 422, "invalid_request"),
        ({}, 422, "invalid_request"),
        ({"key": KEY, "more": 1}, 422, "invalid_request"),
        ({"key": "x" * 5_000}, 413, "body_too_large"),
    ],
)
async def test_what_is_no_key_opens_no_session(
    client: httpx.AsyncClient, body: dict[str, object], status: int, code: str
) -> None:
    answer = await client.post("/session", json=body)
    assert code_of(answer) == (status, code)
    assert "set-cookie" not in answer.headers
    assert KEY not in answer.text


async def test_a_form_of_another_site_opens_no_session(client: httpx.AsyncClient) -> None:
    form = await client.post("/session", data={"key": KEY})
    assert code_of(form) == (415, "unsupported_media_type")
    text = await client.post("/session", content=b"{", headers={"Content-Type": "application/json"})
    assert code_of(text) == (422, "malformed_json")


async def test_without_keys_there_is_no_session_to_open(app: FastAPI, connect: ClientOf) -> None:
    async with connect(app) as client:
        assert code_of(await client.post("/session", json={"key": KEY})) == (404, "not_found")


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost"}, True),
        ({"Origin": "http://localhost", "Host": "localhost:80"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
        ({"Origin": "http://localhost:8080"}, False),
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "http://localhost.evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": ""}, False),
        ({}, False),
    ],
)
async def test_a_session_changes_nothing_on_behalf_of_another_site(
    client: httpx.AsyncClient, headers: dict[str, str], is_allowed: bool
) -> None:
    await client.post("/session", json={"key": KEY})
    answer = await client.post("/search/text", json={"query": "red"}, headers=headers)
    if is_allowed:
        assert answer.status_code == 200
    else:
        assert code_of(answer) == (403, "forbidden")
    # A key in the header is nobody's ambient authority.
    headers = {**headers, "Authorization": f"Bearer {KEY}"}
    answer = await client.post("/search/text", json={"query": "red"}, headers=headers)
    assert answer.status_code == 200


async def test_another_site_cannot_log_somebody_in(client: httpx.AsyncClient) -> None:
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}):
        answer = await client.post("/session", json={"key": KEY}, headers=headers)
        assert code_of(answer) == (403, "forbidden")
        assert "set-cookie" not in answer.headers


async def test_a_wrong_key_is_not_saved_by_a_session(client: httpx.AsyncClient) -> None:
    await client.post("/session", json={"key": KEY})
    wrong = {"Authorization": "Bearer wrong-key-0123456789"}
    assert code_of(await client.get("/info", headers=wrong)) == (401, "unauthorized")
    # A password for a proxy in front is no business of ours.
    basic = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert (await client.get("/info", headers=basic)).status_code == 200


async def test_a_session_never_opens_what_is_for_admins(client: httpx.AsyncClient) -> None:
    await client.post("/session", json={"key": ADMIN_KEY})
    assert (await client.get("/info")).status_code == 200
    answer = await client.post("/admin/reload", headers=SAME_SITE)
    assert code_of(answer) == (401, "unauthorized")


async def test_a_session_ends_when_its_key_is_changed_or_taken_away(
    guarded: FastAPI, client: httpx.AsyncClient, keys: Path
) -> None:
    await client.post("/session", json={"key": KEY})
    written = keys.read_text()
    guarded.state.access.reload(keys)
    assert (await client.get("/info")).status_code == 200
    for changed in (written.replace(KEY, KEY + "x"), written.replace('"page"', '"other"')):
        keys.write_text(changed)
        guarded.state.access.reload(keys)
        assert code_of(await client.get("/info")) == (401, "unauthorized")


# The value of the cookie.

RING = KeyRing((ApiKey("a.b", digest_of(KEY)), ApiKey("c", digest_of(ADMIN_KEY))), b"secret")


def test_a_session_stands_for_its_key_until_it_ends() -> None:
    for key in RING.keys:
        value = open_session(RING, key, clock=lambda: 1_000.0)
        assert session_key(RING, value, clock=lambda: 1_000.0 + SESSION_LIFETIME_S - 1) == key
        assert session_key(RING, value, clock=lambda: 1_000.0 + SESSION_LIFETIME_S) is None


def test_a_session_that_is_forged_in_any_part_stands_for_nothing() -> None:
    value = open_session(RING, RING.keys[0])
    form, expires_at, signature, name = value.split(".", 3)
    forged = [
        f"{form}.{int(expires_at) + 1}.{signature}.{name}",
        f"{form}.0{expires_at}.{signature}x.{name}",
        f"{form}.{expires_at}.{signature}.c",
        f"{form}.{expires_at}.{signature[:-1]}.{name}",
        f"{form}.{expires_at}.{signature[::-1]}.{name}",
        f"{form}.{expires_at}..{name}",
        f"v2.{expires_at}.{signature}.{name}",
        f"{form}.{'9' * 5_000}.{signature}.{name}",
        f"{form}.²³.{signature}.{name}",
        f"{form}.{expires_at}.ä{signature}.{name}",
        "", ".", "...", "v1", value + ".", value[:-1], "x" * 10_000,
    ]  # fmt: skip
    for one in forged:
        assert session_key(RING, one) is None, one
    assert session_key(replace(RING, session_secret=b"another"), value) is None


def test_replicas_of_one_secret_share_sessions(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.touch(mode=0o600)
    path.write_text(f'session_secret = "{"s" * 32}"\n[[keys]]\nname = "page"\nkey = "{KEY}"\n')
    one, other = read_key_ring(path), read_key_ring(path)
    assert session_key(other, open_session(one, one.keys[0])) == other.keys[0]
