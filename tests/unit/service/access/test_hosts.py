"""Which names the service answers for, and that another site's name leads nowhere."""

import httpx
import pytest
from fastapi import FastAPI

from service.access.hosts import AllowedHosts, checked_host_pattern
from tests.unit.service.conftest import ClientOf

pytestmark = pytest.mark.anyio

LOOPBACK = [
    "localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.5.5.5", "[::1]",
    "[::1]:8000", "localhost.", "search.localhost:8000",
]  # fmt: skip
FOREIGN = [
    "evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example",
    "notlocalhost", "10.0.0.1", "[::2]", "", ":8000", "localhost:", "localhost:port", "a:b:c",
    "localhost@evil.example", "0.0.0.0", "[::1", "::1",
]  # fmt: skip


@pytest.mark.parametrize("listening_on", ["127.0.0.1", "::1", "localhost"])
def test_on_loopback_only_loopback_names_are_answered_for(listening_on: str) -> None:
    allowed = AllowedHosts([], listening_on=listening_on)
    assert [host for host in LOOPBACK if not allowed.allow(host)] == []
    assert [host for host in FOREIGN if allowed.allow(host)] == []


@pytest.mark.parametrize("listening_on", ["0.0.0.0", "::", "192.168.0.2", "search.example.org"])
def test_elsewhere_every_name_is_answered_for_unless_some_are_listed(listening_on: str) -> None:
    assert AllowedHosts([], listening_on=listening_on).allow("any.example")
    listed = AllowedHosts(["search.example.org"], listening_on=listening_on)
    assert listed.allow("Search.Example.org:443")
    assert listed.allow("localhost:8000")
    assert not listed.allow("any.example")


def test_a_pattern_stands_for_all_below_it_and_a_star_for_any() -> None:
    below = AllowedHosts(["*.example.org", "fd00::1"], listening_on="127.0.0.1")
    assert below.allow("a.example.org") and below.allow("b.a.example.org:1")
    assert not below.allow("example.org") and not below.allow("badexample.org")
    assert below.allow("[fd00::1]:8000")
    assert AllowedHosts(["*"], listening_on="127.0.0.1").allow("any.example")


@pytest.mark.parametrize("pattern", ["http://a.org", "a.org:80", "a.*", "*a.org", "", "a b", "**"])
def test_a_pattern_that_is_none_is_told(pattern: str) -> None:
    with pytest.raises(ValueError, match="is no host"):
        checked_host_pattern(pattern)


def test_patterns_are_compared_in_one_spelling() -> None:
    assert checked_host_pattern(" Search.Example.ORG. ") == "search.example.org"
    assert checked_host_pattern("*.Example.org") == "*.example.org"
    assert checked_host_pattern("[FD00::1]") == "fd00::1"


async def test_a_rebound_name_reads_nothing(app: FastAPI, connect: ClientOf) -> None:
    async with connect(app) as client:
        for path in ("/", "/info", "/search/text", "/openapi.json"):
            answer = await client.get(path, headers={"Host": "evil.example:8000"})
            assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
            assert "--allowed-hosts" in answer.json()["detail"]
        health = await client.get("/health/live", headers={"Host": "10.1.2.3:8000"})
        assert health.status_code == 200
        for host in ("localhost:8000", "127.0.0.1"):
            assert (await client.get("/info", headers={"Host": host})).status_code == 200


async def test_a_request_that_names_no_host_is_refused(app: FastAPI, connect: ClientOf) -> None:
    async with connect(app) as client:
        request = httpx.Request("GET", "http://localhost/info")
        del request.headers["host"]
        assert (await client.send(request)).status_code == 421
