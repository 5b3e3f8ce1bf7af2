"""Keys and lists of the real command, in a process of its own."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.unit.service.test_process import DEADLINE_S, lines_until, run_here, started

KEY = "page-key-0123456789abcdef"
NEW_KEY = "new-key-0123456789abcdef"
CONFIGURED = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    path.touch(mode=0o644)
    path.write_text(f'[[keys]]\nname = "page"\nkey = "{KEY}"\n')
    return path


@pytest.fixture(scope="module")
def service(index_folder: Path, keys: Path) -> Iterator[tuple[str, int]]:
    """URL and process id of a running service."""
    command = ("-m", "service", "--port", 0, "--json", "--index", index_folder, "--device", "cpu")
    with started(*command, "--keys", keys, "--allowed-hosts", "search.example.org") as process:
        facts = json.loads("".join(lines_until(process.stdout, "}")))
        assert facts["access"] == "1 key"
        yield facts["url"], process.pid
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
        assert "can be read by everyone" in stderr
        assert "--trusted-proxies" not in stderr  # loopback is trusted by default
        for key in (KEY, NEW_KEY):
            assert key not in stderr


def test_a_body_is_not_waited_for_without_a_key(service: tuple[str, int]) -> None:
    address = urlsplit(service[0])
    with socket.create_connection((address.hostname, address.port), timeout=20) as raw:
        raw.sendall(
            b"POST /search/image HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
        )
        heard = b""
        while piece := raw.recv(65_536):  # until the service hangs up
            heard += piece
    assert heard.startswith(b"HTTP/1.1 401 ")
    assert b'"code":"unauthorized"' in heard


def test_a_proxy_that_is_trusted_tells_address_and_https(service: tuple[str, int]) -> None:
    url, _ = service
    told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    opened = httpx.post(f"{url}/session", json={"key": KEY}, headers=told)
    assert "secure" in opened.headers["set-cookie"].lower()
    for guess in range(11):
        guessed = {**told, "Authorization": f"Bearer guess-{guess}"}
        last = httpx.get(f"{url}/info", headers=guessed)
    assert last.status_code == 429
    other = {"X-Forwarded-For": "192.0.2.2", "Authorization": "Bearer guess"}
    assert httpx.get(f"{url}/info", headers=other).status_code == 401


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6 here")
def test_a_proxy_of_ipv4_is_known_where_the_service_listens_to_both(
    index_folder: Path, keys: Path
) -> None:
    command = ("-m", "service", "--port", 0, "--json", "--index", index_folder, "--device", "cpu")
    with started(*command, "--keys", keys, "--host", "::") as process:
        port = urlsplit(json.loads("".join(lines_until(process.stdout, "}")))["url"]).port
        told = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
        opened = httpx.post(f"http://127.0.0.1:{port}/session", json={"key": KEY}, headers=told)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=DEADLINE_S)
    assert "secure" in opened.headers["set-cookie"].lower()
    assert '"client": "192.0.2.1"' in stderr
    assert "is not trusted" not in stderr


def test_configured_hosts_and_loopback_are_answered_for(service: tuple[str, int]) -> None:
    url, _ = service
    for host, status in (("search.example.org", 200), ("evil.example", 421)):
        answer = httpx.get(f"{url}/info", headers={**CONFIGURED, "Host": host})
        assert answer.status_code == status
    assert httpx.get(f"{url}/info", headers=CONFIGURED).status_code == 200


def test_sighup_brings_new_keys(service: tuple[str, int], keys: Path) -> None:
    url, process_id = service
    written = keys.read_text()
    keys.write_text(written + f'[[keys]]\nname = "new"\nkey = "{NEW_KEY}"\n')
    os.kill(process_id, signal.SIGHUP)
    end = time.monotonic() + DEADLINE_S
    status = 0
    while status != 200 and time.monotonic() < end:
        # A key of another address each time: this one waits to be let in.
        status = httpx.get(
            f"{url}/info", headers={"Authorization": f"Bearer {NEW_KEY}"}
        ).status_code
        time.sleep(0.05)
    assert status == 200
    assert httpx.get(f"{url}/info", headers=CONFIGURED).status_code == 200


def test_a_refused_file_of_keys_is_counted_and_the_old_keys_stay(
    service: tuple[str, int], keys: Path
) -> None:
    url, process_id = service
    written = keys.read_text()
    keys.write_text("[[keys]")
    try:
        os.kill(process_id, signal.SIGHUP)
        refused = 'hrem_keys_reloads_total{outcome="refused"} 1.0'
        end = time.monotonic() + DEADLINE_S
        shown = httpx.get(f"{url}/metrics", headers=CONFIGURED)
        while refused not in shown.text and time.monotonic() < end:
            time.sleep(0.05)
            shown = httpx.get(f"{url}/metrics", headers=CONFIGURED)
        assert shown.status_code == 200
        assert refused in shown.text
        assert "hrem_last_keys_reload_ok 0.0" in shown.text
        keys.write_text(written)
        os.kill(process_id, signal.SIGHUP)
        while "hrem_last_keys_reload_ok 1.0" not in shown.text and time.monotonic() < end:
            time.sleep(0.05)
            shown = httpx.get(f"{url}/metrics", headers=CONFIGURED)
        assert "hrem_last_keys_reload_ok 1.0" in shown.text
    finally:
        keys.write_text(written)


def test_wrong_lists_are_told_all_at_once(
    index_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, stderr = run_here(
        capsys, "--index", index_folder, "--allowed-hosts", "http://a.org", "--url-hosts",
        "ftp://a.org", "--cors-origins", "a.org", "--trusted-proxies", "everyone",
    )  # fmt: skip
    assert status == 2
    lines = stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "allowed_hosts", "cors_origins", "trusted_proxies", "url_hosts",
    ]  # fmt: skip


def test_a_wrong_file_of_keys_is_told_before_anything_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.toml"
    keys.write_text('[[keys]]\nname = "a b"\n[[keys]]\nname = "b"\n')
    status, stderr = run_here(capsys, "--index", tmp_path / "none", "--keys", keys, "--port", 0)
    assert status == 2
    assert [line[: len("config error: keys = ")] for line in stderr.splitlines()] == [
        "config error: keys = "
    ] * 3
