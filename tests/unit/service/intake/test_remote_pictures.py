"""Fetching pictures by URL: what works, and everything an attacker would try."""

import asyncio
import contextlib
import gzip
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from model.errors import UnreadablePictureError
from service.errors import (
    FetchTooLargeError,
    QueueFullError,
    UrlNotAllowedError,
    UrlUnreachableError,
)
from service.intake import remote_pictures
from service.intake.public_addresses import is_public
from service.intake.remote_pictures import PictureFetcher
from service.intake.url_rules import UrlRules
from tests.unit.service.conftest import encoded
from tests.unit.service.hostile_server import HostileServer, answer, hostile_server, redirect
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio

PICTURE = encoded(made_up_picture(0))
NAME = "pictures.test"


class Names:
    """A resolver that answers as it is told, one answer after the other, and remembers."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


def is_test_server(address: str) -> bool:
    return address == "127.0.0.1"


def fetcher(
    *hosts: str,
    names: Names | None = None,
    may_connect: Callable[[str], bool] = is_test_server,
    max_bytes: int = 100_000,
    timeout_ms: int = 20_000,
    trust: ssl.SSLContext | None = None,
) -> PictureFetcher:
    return PictureFetcher(
        UrlRules(hosts),
        max_bytes=max_bytes,
        timeout_ms=timeout_ms,
        may_connect=may_connect,
        resolve=names or Names(["127.0.0.1"]),
        trust=trust,
    )


def to(server: HostileServer, **options: Any) -> PictureFetcher:
    return fetcher(f"http://{NAME}:{server.port}", **options)


def url_of(server: HostileServer, path: str = "/picture") -> str:
    return f"http://{NAME}:{server.port}{path}"


@pytest.fixture
async def honest() -> AsyncIterator[HostileServer]:
    async with hostile_server({"/picture": answer(PICTURE, "Content-Type: text/html")}) as server:
        yield server


# What works.


async def test_a_picture_of_a_listed_host_is_fetched_whatever_it_calls_itself(
    honest: HostileServer,
) -> None:
    assert await to(honest).fetch(url_of(honest)) == PICTURE
    request = honest.requests[0].decode().lower()
    assert f"host: {NAME}:{honest.port}\r\n" in request
    assert "accept-encoding: identity\r\n" in request
    for header in ("cookie", "authorization", "referer"):
        assert f"\r\n{header}:" not in request


async def test_a_few_redirects_are_followed_relative_ones_too() -> None:
    scripts = {
        "/a": redirect("/b"),
        "/b": redirect("c?x=1", "301 Moved Permanently"),
        "/c?x=1": redirect("/picture", "308 Permanent Redirect"),
        "/picture": answer(PICTURE),
    }
    async with hostile_server(scripts) as server:
        assert await to(server).fetch(url_of(server, "/a")) == PICTURE
    assert server.paths == ["/a", "/b", "/c?x=1", "/picture"]


async def test_the_next_address_is_tried_when_one_does_not_answer(honest: HostileServer) -> None:
    names = Names(["::1", "127.0.0.1"])
    both = to(honest, names=names, may_connect=lambda one: one in ("::1", "127.0.0.1"))
    assert await both.fetch(url_of(honest)) == PICTURE


async def test_an_address_that_says_nothing_leaves_time_for_the_next(
    honest: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_pictures, "SILENT_ADDRESS_S", 0.3)
    with contextlib.ExitStack() as opened:
        silent = socket.create_server(("::1", honest.port), family=socket.AF_INET6, backlog=0)
        opened.enter_context(silent)
        for _ in range(4):  # nobody accepts them, so the next one has to wait
            waiting = opened.enter_context(socket.socket(socket.AF_INET6))
            waiting.setblocking(False)
            waiting.connect_ex(("::1", honest.port))
        names = Names(["::1", "127.0.0.1"])
        both = to(honest, names=names, may_connect=lambda one: one in ("::1", "127.0.0.1"))
        assert await both.fetch(url_of(honest)) == PICTURE


async def test_proxies_of_the_environment_are_not_used(
    honest: HostileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hostile_server({}) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await to(honest).fetch(url_of(honest)) == PICTURE
    assert proxy.requests == []


# Which URLs.


def test_without_a_list_no_url_is_allowed() -> None:
    with pytest.raises(UrlNotAllowedError, match="base64"):
        UrlRules([]).allowed("https://a.example/picture.jpg")


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        ("a.example", ["https://a.example/x", "https://A.example:443/", "https://a.example./"],
         ["http://a.example/", "https://a.example:8443/", "https://b.a.example/",
          "https://a.example.evil/", "https://nota.example/"]),
        ("*.a.example", ["https://b.a.example/", "https://c.b.a.example/"],
         ["https://a.example/", "https://ba.example/", "http://b.a.example/"]),
        ("http://a.example:8080", ["http://a.example:8080/"],
         ["http://a.example/", "https://a.example:8080/", "https://a.example/"]),
        ("*", ["https://a.example/", "https://203.0.113.7/"],
         ["http://a.example/", "https://a.example:22/"]),
        ("xn--bcher-kva.example", ["https://bücher.example/", "https://xn--bcher-kva.example/"],
         ["https://bucher.example/", "https://b\u00fccher.example:8443/"]),
    ],
)  # fmt: skip
def test_an_entry_allows_its_scheme_host_and_port_and_no_other(
    entry: str, allowed: list[str], refused: list[str]
) -> None:
    rules = UrlRules([entry])
    for url in allowed:
        assert rules.allowed(url).host
    for url in refused:
        with pytest.raises(UrlNotAllowedError):
            rules.allowed(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",  # 127.0.0.1 in decimal
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1.0x/",
        "http://%31%32%37.0.0.1/",
        "http://１２７.0.0.1/",
        "http://user:secret@pictures.test/",
        "http://user@pictures.test/",
        "http://@pictures.test/",
        "http://pictures.test\\@127.0.0.1/",
        "http://pictures.test /",
        "http://pictures.test/\r\nX-Injected: 1",
        "http://pictures.test\t/",
        "http://pictures.test:0x50/",
        "http://pictures.test:99999999/",
        "http://-pictures.test/",
        "http://pictures..test/",
        "http:///picture",
        "http:pictures.test/",
        "//pictures.test/",
        "pictures.test",
        "",
        "file:///etc/passwd",
        "ftp://pictures.test/",
        "gopher://pictures.test/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "jar:http://pictures.test!/",
        "http://[fe80::1%25eth0]/",
        "http://[fe80::1%eth0]/",
        "http://ⓟictures.test/",
        "http://pictures。test\u200b/",
        "http://" + "a" * 3_000 + ".test/",
    ],
)
async def test_odd_urls_are_refused_before_any_name_is_asked_for(url: str) -> None:
    names = Names(["127.0.0.1"])
    anything = fetcher("*", "http://*", "http://pictures.test", names=names)
    with pytest.raises(UrlNotAllowedError):
        await anything.fetch(url)
    assert names.asked == []


async def test_a_host_that_is_not_listed_is_not_even_resolved(honest: HostileServer) -> None:
    names = Names(["127.0.0.1"])
    with pytest.raises(UrlNotAllowedError, match="--url-hosts"):
        await to(honest, names=names).fetch(f"http://other.test:{honest.port}/picture")
    assert names.asked == []


@pytest.mark.parametrize(
    "entry", ["", "ftp://a.example", "a.example/path", "a b", "user@a.example", "a.*.example"]
)
def test_a_wrong_entry_of_the_list_is_told(entry: str) -> None:
    with pytest.raises(ValueError, match="no host to fetch from"):
        UrlRules([entry])


# Which addresses.

NOT_PUBLIC = [
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "192.0.0.192",
    "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "fe80::1", "fe80::1%eth0",
    "fc00::1", "fd00:ec2::254", "ff02::1", "2002:7f00:1::", "2002:808:808::", "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1", "2001::1", "2001:db8::1", "3fff::1", "fec0::1", "100::1", "5f00::1",
    "2130706433", "0x7f.1", "localhost", "", "127.0.0.1:80",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_the_public_internets_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111"]
)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(address)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where a connection was attempted; none is made."""
    seen: list[Any] = []

    def refuse(self: socket.socket, address: Any) -> None:
        seen.append(address)
        raise ConnectionRefusedError(111, "refused by the test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return seen


@pytest.mark.parametrize("address", [one for one in NOT_PUBLIC if one])
async def test_a_name_that_leads_there_is_refused_without_a_connection(
    address: str, attempts: list[Any]
) -> None:
    with pytest.raises(UrlNotAllowedError, match="not on the public internet") as refusal:
        await fetcher(NAME, names=Names([address]), may_connect=is_public).fetch(f"https://{NAME}/")
    assert address not in str(refusal.value)
    assert attempts == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]
)
async def test_such_an_address_in_the_url_itself_is_refused_even_if_listed(
    host: str, attempts: list[Any]
) -> None:
    for rules in (("*", "http://*"), (host, f"http://{host}")):
        for scheme in ("http", "https"):
            with pytest.raises(UrlNotAllowedError):
                await fetcher(*rules, may_connect=is_public).fetch(f"{scheme}://{host}/")
    assert attempts == []


async def test_one_address_that_is_not_public_among_others_refuses_the_name(
    attempts: list[Any],
) -> None:
    names = Names(["93.184.216.34", "10.0.0.1"])
    with pytest.raises(UrlNotAllowedError):
        await fetcher(NAME, names=names, may_connect=is_public).fetch(f"https://{NAME}/")
    assert attempts == []


async def test_a_rebound_name_leads_to_the_address_that_was_checked(attempts: list[Any]) -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    with pytest.raises(UrlUnreachableError):
        await fetcher(NAME, names=names, may_connect=is_public).fetch(f"https://{NAME}/")
    assert attempts == [("93.184.216.34", 443)]
    assert names.asked == [NAME]


async def test_a_name_rebound_between_redirects_is_checked_again() -> None:
    async with hostile_server({"/a": redirect("/b"), "/b": answer(PICTURE)}) as server:
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        with pytest.raises(UrlNotAllowedError, match="not on the public internet"):
            await to(server, names=names).fetch(url_of(server, "/a"))
    assert server.paths == ["/a"]


async def test_the_peer_really_connected_to_is_checked(honest: HostileServer) -> None:
    verdicts = iter([True, False])
    with pytest.raises(UrlNotAllowedError, match="not on the public internet"):
        await to(honest, may_connect=lambda _: next(verdicts)).fetch(url_of(honest))
    assert honest.requests == []


async def test_a_name_is_resolved_by_this_machine(honest: HostileServer) -> None:
    hosts = f"http://localhost:{honest.port}"
    here = PictureFetcher(
        UrlRules([hosts]),
        max_bytes=100_000,
        timeout_ms=20_000,
        may_connect=lambda address: address in ("127.0.0.1", "::1"),
    )
    assert await here.fetch(f"{hosts}/picture") == PICTURE
    here.close()


# Redirects.


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://127.0.0.1:{port}/picture",
        "http://localhost:{port}/picture",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://2130706433:{port}/",
        "//evil.test/",
        "file:///etc/passwd",
        "http://user:pw@pictures.test:{port}/picture",
        "",
        "http://[",
    ],
)
async def test_redirects_elsewhere_are_refused(location: str) -> None:
    scripts = {"/picture": answer(PICTURE)}
    async with hostile_server(scripts) as server:
        scripts["/a"] = redirect(location.format(port=server.port))
        names = Names(["127.0.0.1"])
        # An empty location is the same URL again, which ends as a loop.
        with pytest.raises((UrlNotAllowedError, UrlUnreachableError)):
            await to(server, names=names).fetch(url_of(server, "/a"))
    assert set(server.paths) == {"/a"}
    assert set(names.asked) == {NAME}


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "192.168.0.1", "::1"])
async def test_a_redirect_to_a_listed_name_of_another_network_is_refused(address: str) -> None:
    names = Names(["127.0.0.1"], [address])
    # The test server stands for the public internet until it has been reached.
    verdicts = iter([True, True])

    def is_public_at_first(address: str) -> bool:
        return next(verdicts, False) or is_public(address)

    async with hostile_server({"/a": redirect("http://inside.test/")}) as server:
        hosts = (f"http://{NAME}:{server.port}", "http://inside.test")
        both = fetcher(*hosts, names=names, may_connect=is_public_at_first)
        with pytest.raises(UrlNotAllowedError, match="not on the public internet"):
            await both.fetch(url_of(server, "/a"))
    assert names.asked == [NAME, "inside.test"]


async def test_redirects_in_a_circle_end() -> None:
    async with hostile_server({"/a": redirect("/b"), "/b": redirect("/a")}) as server:
        with pytest.raises(UrlUnreachableError, match="more than 3 times"):
            await to(server).fetch(url_of(server, "/a"))
    assert server.paths == ["/a", "/b", "/a", "/b"]


def test_a_redirect_from_https_to_http_is_refused_even_if_both_are_listed() -> None:
    rules = UrlRules(["a.example", "http://a.example"])
    secure = rules.allowed("https://a.example/x")
    assert rules.allowed("/y", redirected_from=secure).target == b"/y"
    with pytest.raises(UrlNotAllowedError, match="from https to http"):
        rules.allowed("http://a.example/x", redirected_from=secure)


# What comes back.


@pytest.mark.parametrize("status", ["404 Not Found", "500 Oh", "204 No Content", "206 Partial"])
async def test_only_a_plain_200_is_a_picture(status: str) -> None:
    async with hostile_server({"/picture": answer(PICTURE, status=status)}) as server:
        with pytest.raises(UrlUnreachableError):
            await to(server).fetch(url_of(server))


@pytest.mark.parametrize("content", [b"<svg/>", b"<!doctype html>", b"%PDF-1.7", b"", b"\x89"])
async def test_content_that_is_no_picture_is_refused_whatever_it_calls_itself(
    content: bytes,
) -> None:
    script = answer(content, "Content-Type: image/png")
    async with hostile_server({"/picture": script}) as server:
        with pytest.raises(UnreadablePictureError, match="no picture"):
            await to(server).fetch(url_of(server))


async def test_a_declared_size_over_the_limit_is_not_read() -> None:
    async def promise(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n\x89PNG")
        await asyncio.sleep(60)

    async with hostile_server({"/picture": promise}) as server:
        with pytest.raises(FetchTooLargeError, match="larger than"):
            await to(server).fetch(url_of(server))


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_endless_body_is_cut_at_the_limit(is_chunked: bool) -> None:
    sent = 0

    async def pour(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n")
        writer.write(b"Transfer-Encoding: chunked\r\n\r\n" if is_chunked else b"\r\n")
        piece = PICTURE[:4] + bytes(9_996)
        while True:
            writer.write(b"2710\r\n" + piece + b"\r\n" if is_chunked else piece)
            await writer.drain()
            sent += 1

    async with hostile_server({"/picture": pour}) as server:
        with pytest.raises(FetchTooLargeError):
            await to(server).fetch(url_of(server))
    # The limit is 10 pieces; what the kernel buffers in between is more, and not endless.
    assert sent < 2_000


async def test_a_slow_drip_ends_at_the_deadline() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PICTURE[:8])
        while True:
            await asyncio.sleep(0.02)
            writer.write(b"\0")
            await writer.drain()

    async with hostile_server({"/picture": drip}) as server:
        with pytest.raises(UrlUnreachableError, match=r"not read within 0\.3 s"):
            await to(server, timeout_ms=300).fetch(url_of(server))


async def test_a_host_that_says_nothing_and_a_name_that_never_resolves_end_at_the_deadline() -> (
    None
):
    async def silence(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    class Never(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            await asyncio.sleep(60)
            raise AssertionError

    async with hostile_server({"/picture": silence}) as server:
        for names in (None, Never()):
            with pytest.raises(UrlUnreachableError, match="not read within"):
                await to(server, names=names, timeout_ms=200).fetch(url_of(server))


async def test_a_few_at_a_time_and_the_wait_counts_too() -> None:
    running: list[int] = []

    class Slow(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            self.asked.append(host)
            try:
                running.append(len(self.asked))
                await asyncio.sleep(60)
            finally:
                self.asked.pop()
            raise AssertionError

    shared = fetcher(NAME, names=Slow(), timeout_ms=500)
    fetches = (shared.fetch(f"https://{NAME}/") for _ in range(40))
    started = time.monotonic()
    results = await asyncio.gather(*fetches, return_exceptions=True)
    assert time.monotonic() - started < 5
    assert max(running) == 8
    # Who was not begun with is told to come again, not that the other side is to blame.
    kinds = [type(one) for one in results]
    assert kinds[32:] == [QueueFullError] * 8
    assert kinds[:8] == [UrlUnreachableError] * 8
    assert set(kinds[8:32]) <= {QueueFullError, UrlUnreachableError}


async def test_huge_headers_are_refused() -> None:
    async def boast(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Header: " + b"a" * 10_000 + b"\r\n")
            await writer.drain()

    async with hostile_server({"/picture": boast}) as server:
        with pytest.raises(UrlUnreachableError, match="no proper HTTP"):
            await to(server).fetch(url_of(server))


async def test_endless_informational_answers_end_at_the_deadline() -> None:
    async def hint(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.001)

    async with hostile_server({"/picture": hint}) as server:
        with pytest.raises(UrlUnreachableError, match="not read within"):
            await to(server, timeout_ms=300).fetch(url_of(server))


@pytest.fixture(scope="module")
def bomb() -> bytes:
    return gzip.compress(bytes(50_000_000), 1)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "IDENTITY, gzip"])
async def test_compressed_content_is_not_unfolded(encoding: str, bomb: bytes) -> None:
    script = answer(bomb, f"Content-Encoding: {encoding}")
    async with hostile_server({"/picture": script}) as server:
        with pytest.raises(UrlUnreachableError, match="compressed"):
            await to(server).fetch(url_of(server))


@pytest.mark.parametrize(
    "nonsense",
    [b"", b"\x00\x01\x02\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n\x89",
     b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n\x89PNG",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
)  # fmt: skip
async def test_no_proper_http_is_unreachable(nonsense: bytes) -> None:
    async def babble(writer: asyncio.StreamWriter) -> None:
        writer.write(nonsense)
        await writer.drain()

    async with hostile_server({"/picture": babble}) as server:
        with pytest.raises(UrlUnreachableError) as refusal:
            await to(server, timeout_ms=5_000).fetch(url_of(server))
    assert "127.0.0.1" not in str(refusal.value)


async def test_nobody_listening_and_a_name_without_address_are_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    class NoName(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            raise socket.gaierror(-2, "Name or service not known")

    for names in (None, NoName()):
        with pytest.raises(UrlUnreachableError):
            await fetcher(f"http://{NAME}:{port}", names=names).fetch(f"http://{NAME}:{port}/x")


# Certificates.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for NAME that signs itself, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-addext", "basicConstraints=critical,CA:TRUE",
         "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    both = folder / "both.pem"
    both.write_text((folder / "key.pem").read_text() + (folder / "cert.pem").read_text())
    return both


def tls_of(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_the_certificate_is_checked_against_the_name_not_the_address(
    certificate: Path,
) -> None:
    trust = ssl.create_default_context(cafile=str(certificate))
    tls = tls_of(certificate)
    asked_names: list[str | None] = []
    tls.sni_callback = lambda _connection, name, _context: asked_names.append(name)
    async with hostile_server({"/picture": answer(PICTURE)}, tls=tls) as server:
        right = fetcher(f"https://{NAME}:{server.port}", trust=trust)
        assert await right.fetch(f"https://{NAME}:{server.port}/picture") == PICTURE
        for host in ("other.test", "127.0.0.1"):
            wrong = fetcher(f"https://{host}:{server.port}", trust=trust)
            with pytest.raises(UrlUnreachableError, match="certificate is not valid"):
                await wrong.fetch(f"https://{host}:{server.port}/picture")
    assert asked_names[:2] == [NAME, "other.test"]
    assert server.paths == ["/picture"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    scripts = {"/picture": answer(PICTURE)}
    async with hostile_server(scripts, tls=tls_of(certificate)) as server:
        with pytest.raises(UrlUnreachableError, match="certificate is not valid"):
            await fetcher(f"https://{NAME}:{server.port}").fetch(
                f"https://{NAME}:{server.port}/picture"
            )
    assert server.requests == []
