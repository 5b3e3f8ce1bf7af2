"""Pages of other sites: nothing by default, listed ones with a key of their own."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from tests.unit.service.conftest import ClientOf, MakeApp

pytestmark = pytest.mark.anyio

FRIEND = "https://friend.example"
KEY = "page-key-0123456789abcdef"


def cors_headers(answer: httpx.Response) -> list[str]:
    return [name for name in answer.headers if name.startswith("access-control-")]


def preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }


async def test_by_default_no_other_site_is_told_anything(app: FastAPI, connect: ClientOf) -> None:
    async with connect(app) as client:
        asked = await client.options("/search/text", headers=preflight(FRIEND))
        assert asked.status_code == 405
        read = await client.get("/info", headers={"Origin": FRIEND})
        assert cors_headers(asked) == cors_headers(read) == []


async def test_a_listed_site_asks_with_a_key_and_never_with_a_session(
    make_app: MakeApp, connect: ClientOf, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text(f'[[keys]]\nname = "page"\nkey = "{KEY}"\n')
    async with connect(make_app(keys=keys, cors_origins=(FRIEND,))) as client:
        asked = await client.options("/search/text", headers=preflight(FRIEND))
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == FRIEND
        assert "access-control-allow-credentials" not in asked.headers
        headers = {"Origin": FRIEND, "Authorization": f"Bearer {KEY}"}
        found = await client.post("/search/text", json={"query": "red"}, headers=headers)
        assert (found.status_code, found.headers["access-control-allow-origin"]) == (200, FRIEND)
        # What goes wrong can be read too.
        refused = await client.get("/info", headers={"Origin": FRIEND})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == FRIEND
        await client.post("/session", json={"key": KEY})
        foreign = await client.post(
            "/search/text", json={"query": "red"}, headers={"Origin": FRIEND}
        )
        assert foreign.status_code == 403


async def test_a_site_that_is_not_listed_is_told_nothing(
    make_app: MakeApp, connect: ClientOf
) -> None:
    async with connect(make_app(cors_origins=(FRIEND,))) as client:
        for origin in ("https://evil.example", "http://friend.example", f"{FRIEND}.evil.example"):
            asked = await client.options("/search/text", headers=preflight(origin))
            read = await client.get("/info", headers={"Origin": origin})
            for answer in (asked, read):
                assert "access-control-allow-origin" not in answer.headers
