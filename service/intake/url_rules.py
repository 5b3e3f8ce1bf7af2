"""Which URLs pictures may be fetched from: an allow-list of origins, read with no leniency.

An entry is a host (`upload.wikimedia.org`: https, port 443), every host below one (`*.a.org`), any
public host (`*`), or an origin with its scheme and port (`http://a.org`, `https://a.org:8443`).

A URL is taken apart once, and what is checked is what is connected to: nobody reads it a second
time in another way.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from service.errors import UrlNotAllowedError

__all__ = ["PictureUrl", "UrlRules", "checked_url_host"]

MAX_URL_CHARACTERS = 2_048
PORTS = {"http": 80, "https": 443}
HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
# As the URL standard has it: a host whose last label is a number is an IPv4 address, however odd.
ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")


@dataclass(frozen=True)
class PictureUrl:
    """A URL that may be asked for.

    Attributes:
        scheme: `http` or `https`.
        host: Lower-case ASCII name, or an address in its canonical spelling without brackets.
        port: Its own or the scheme's.
        target: Path and query, as they go into the request.
    """

    scheme: str
    host: str
    port: int
    target: bytes


class UrlRules:
    """Allows the URLs of the listed hosts; of none if there is no entry."""

    def __init__(self, entries: Sequence[str]) -> None:
        self._origins = [_origin_of(entry) for entry in entries]

    def allowed(self, url: str, *, redirected_from: PictureUrl | None = None) -> PictureUrl:
        """Return a URL taken apart, or the one that an allowed one redirects to.

        Raises:
            UrlNotAllowedError: It is no plain URL of a listed host, scheme and port.
        """
        if not self._origins:
            raise UrlNotAllowedError(
                "this service fetches no pictures; send the picture itself as base64"
            )
        parsed = _parsed(url, redirected_from)
        if redirected_from is not None and (redirected_from.scheme, parsed.scheme) == (
            "https",
            "http",
        ):
            raise UrlNotAllowedError("the URL redirects from https to http")
        if not any(_fits(parsed, origin) for origin in self._origins):
            place = f"{parsed.scheme}://{_in_url(parsed.host)}:{parsed.port}"
            raise UrlNotAllowedError(
                f"pictures are not fetched from {place[:200]}; send the picture itself as base64, "
                "or have its host added to --url-hosts"
            )
        return parsed


def checked_url_host(entry: str) -> str:
    """Return an entry of the allow-list, trimmed.

    Raises:
        ValueError: It is neither a host nor an origin.
    """
    _origin_of(entry)
    return entry.strip()


def _parsed(url: str, base: PictureUrl | None) -> PictureUrl:
    if len(url) > MAX_URL_CHARACTERS:
        raise UrlNotAllowedError(f"the URL is longer than {MAX_URL_CHARACTERS:,} characters")
    if re.search(r"[\s\\\x00-\x20\x7f-\xa0]", url):
        raise UrlNotAllowedError("the URL has spaces, control characters or backslashes")
    try:
        whole = httpx.URL(url) if base is None else _written(base).join(url)
        host = whole.raw_host.decode("ascii").lower()
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise UrlNotAllowedError(f"this is no URL: {error}"[:300]) from error
    if whole.scheme not in PORTS:
        raise UrlNotAllowedError("the URL is neither https nor http")
    if whole.userinfo or re.match(r"(?:[a-z0-9+.-]*:)?//[^/?#]*@", url.lower()):
        raise UrlNotAllowedError("the URL carries a user name or password; leave them out")
    port = PORTS[whole.scheme] if whole.port is None else whole.port
    return PictureUrl(whole.scheme, _plain_host(host), port, whole.raw_path)


def _plain_host(host: str) -> str:
    """Return a host in the one spelling that is accepted of it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        host = host.removesuffix(".")
        if HOST_NAME.fullmatch(host) and not ENDS_IN_NUMBER.fullmatch(host):
            return host
        raise UrlNotAllowedError("the URL's host is neither a name nor a plain address") from None
    return str(address)


def _written(url: PictureUrl) -> httpx.URL:
    return httpx.URL(scheme=url.scheme, host=_in_url(url.host), port=url.port, raw_path=url.target)


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _origin_of(entry: str) -> tuple[str, str, int]:
    """Return scheme, host pattern and port of an entry."""
    scheme, separator, rest = entry.strip().lower().rpartition("://")
    scheme = scheme if separator else "https"
    parts = re.fullmatch(r"(\*|\[[0-9a-f:.]+\]|(?:\*\.)?[a-z0-9._-]+)(?::(\d{1,5}))?", rest)
    if scheme not in PORTS or parts is None:
        raise ValueError(
            f"{entry!r} is no host to fetch from; give names such as upload.example.org, "
            "*.example.org for all below it, * for any public host, or http://example.org:8080"
        )
    return scheme, parts[1].strip("[]").removesuffix("."), int(parts[2] or PORTS[scheme])


def _fits(url: PictureUrl, origin: tuple[str, str, int]) -> bool:
    scheme, pattern, port = origin
    if (url.scheme, url.port) != (scheme, port):
        return False
    if pattern.startswith("*."):
        return url.host.endswith(pattern[1:])
    return pattern in ("*", url.host)
