"""A proxy that nobody trusts is told of in the log, once."""

import logging

import pytest

from service.observing.untrusted_forwarding import MAX_TOLD, UntrustedForwarding
from tests.unit.service.conftest import ClientOf, MakeApp


def scope(client: str, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    return {"client": (client, 1), "headers": [(b"host", b"a"), *headers]}


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, logger="service.proxies")
    return caplog


def test_a_peer_that_forwards_without_trust_is_told_of_once(
    told: pytest.LogCaptureFixture,
) -> None:
    forwarding = UntrustedForwarding()
    for client in ("10.0.0.5", "10.0.0.5", "10.0.0.6"):
        forwarding.watch(scope(client, "192.0.2.1"))
    assert [message.split()[0] for message in told.messages] == ["10.0.0.5", "10.0.0.6"]
    assert "--trusted-proxies" in told.messages[0]
    assert "192.0.2.1" not in told.text


def test_clients_of_trusted_proxies_and_of_none_are_nothing_to_tell(
    told: pytest.LogCaptureFixture,
) -> None:
    forwarding = UntrustedForwarding()
    forwarding.watch(scope("10.0.0.5"))
    forwarding.watch(scope("192.0.2.1", "192.0.2.1, 10.0.0.5"))
    forwarding.watch(scope("192.0.2.1", "198.51.100.7", "192.0.2.1:4711"))
    forwarding.watch(scope("2001:db8::1", "[2001:DB8::1]:4711"))
    assert told.messages == []


def test_strangers_cannot_fill_the_log(told: pytest.LogCaptureFixture) -> None:
    forwarding = UntrustedForwarding()
    for number in range(3 * MAX_TOLD):
        forwarding.watch(scope(f"192.0.2.{number}", "198.51.100.7"))
    assert len(told.messages) == MAX_TOLD


@pytest.mark.anyio
async def test_a_service_looks_at_every_request(
    make_app: MakeApp, connect: ClientOf, told: pytest.LogCaptureFixture
) -> None:
    async with connect(make_app()) as client:
        await client.get("/nothing", headers={"X-Forwarded-For": "192.0.2.1"})
    assert len(told.messages) == 1
