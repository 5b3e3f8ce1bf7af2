"""Who may ask: every request shows a key, or the session that stands for one.

- Decided before anything of the body is read.
- Open without a key: the pages and their files, the API's description, `/health/*`, and
  `POST /session`, which takes the key itself.
- `/admin/*` wants an admin key in `Authorization`, never a session; where none is configured it is
  closed to everyone.
- A session may change nothing on behalf of another site: what is not safe must come from a page of
  this very origin.
"""

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from model.console import counted
from model.errors import ConfigError
from service.access.api_keys import ApiKey, KeyRing, digest_of, read_key_ring
from service.access.sessions import open_session, session_key
from service.access.token_bucket import TokenBucket
from service.access.wrong_keys import WrongKeys
from service.problems import Problem, refuse_request

__all__ = [
    "SESSION_COOKIE",
    "Access",
    "AccessControl",
    "is_admin_path",
    "is_open",
    "is_same_origin",
]

SESSION_COOKIE = "hrem_session"
OPEN_PATHS = frozenset({"/", "/docs", "/openapi.json"})
OPEN_FOLDERS = ("/page/", "/docs/", "/health/")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What is on its way of a larger body, or one of unknown size, is not read: the connection closes.
MAX_DISCARDED_BYTES = 65_536

# Not this module's name: that is the log of requests, which can be switched off.
log = logging.getLogger("service.keys")


class Access:
    """Decides by key; keeps how much of its rate each key has used, and who has guessed wrong."""

    def __init__(self, ring: KeyRing, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._ring = ring
        self._clock = clock
        self._buckets: dict[ApiKey, TokenBucket] = {}
        self._wrong_keys = WrongKeys(clock=clock)

    @property
    def key_count(self) -> int:
        """How many keys there are."""
        return len(self._ring.keys)

    def replace(self, ring: KeyRing) -> None:
        """Use other keys from now on; a key that stays as it is keeps what it has used."""
        self._ring = ring
        self._buckets = {key: one for key, one in self._buckets.items() if key in ring.keys}

    def reload(self, path: Path) -> bool:
        """Read the keys again; a file that is wrong is told in the log, and the old keys stay."""
        try:
            ring = read_key_ring(path, session_secret=self._ring.session_secret)
        except ConfigError as error:
            valid = ", ".join(key.name for key in self._ring.keys)
            log.error("the keys read before stay valid (%s): %s", valid, error)
            return False
        self.replace(ring)
        log.info("%s read again", counted(len(ring.keys), "keys"))
        return True

    def key_of(self, connection: HTTPConnection) -> ApiKey:
        """Return the key that a request shows, itself or by its session.

        Raises:
            Problem: `unauthorized`, `forbidden` or `rate_limited`.
        """
        presented = _bearer(connection)
        if presented is not None:
            return self._proven(presented, connection)
        return self._key_of_session(connection, may_use=not is_admin_path(connection.scope["path"]))

    def admit(self, key: ApiKey, path: str) -> None:
        """Let the bearer of a key in; its rate is one token poorer.

        Raises:
            Problem: `forbidden` or `rate_limited`.
        """
        if is_admin_path(path) and not key.is_admin:
            raise Problem("forbidden", f"the key {key.name} is no admin key; use one that is")
        self._charge(key)

    def open_session(self, presented: str, connection: HTTPConnection) -> str:
        """Return the value of the session cookie for the bearer of a key.

        Raises:
            Problem: The key is wrong, too many were, or another site's page asks.
        """
        if not is_same_origin(connection, unsaid=True):
            raise Problem("forbidden", "a session is opened from this service's own page only")
        key = self._proven(presented, connection)
        self._charge(key)
        return open_session(self._ring, key)

    def _proven(self, presented: str, connection: HTTPConnection) -> ApiKey:
        digest = digest_of(presented)
        key = self._ring.find(digest)
        address = connection.client.host if connection.client else ""
        # Asked for right keys too, or guessing would go on: see `wrong_keys`.
        if wait_s := self._wrong_keys.wait_s(address, digest):
            raise _rate_limited(wait_s, "too many wrong keys came from this address")
        if key is None:
            self._wrong_keys.count(address, digest)
            raise _unauthorized("this key is not known; check it with whoever runs the service")
        self._wrong_keys.remember_right(address, digest)
        return key

    def _key_of_session(self, connection: HTTPConnection, *, may_use: bool) -> ApiKey:
        value = connection.cookies.get(SESSION_COOKIE)
        if value is None or not may_use:
            raise _unauthorized("a key is needed; send it as Authorization: Bearer KEY")
        key = session_key(self._ring, value)
        if key is None:
            raise _unauthorized("the session has ended; open another with POST /session")
        if connection.scope["method"] not in SAFE_METHODS and not is_same_origin(connection):
            raise Problem(
                "forbidden",
                "a session works from this service's own page only; elsewhere send the key as "
                "Authorization: Bearer KEY",
            )
        return key

    def _charge(self, key: ApiKey) -> None:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = TokenBucket(
                rate_per_minute=key.rate_per_minute, burst=key.burst, clock=self._clock
            )
            self._buckets[key] = bucket
        if wait_s := bucket.take():
            raise _rate_limited(
                math.ceil(wait_s), f"the key {key.name} has {key.rate_per_minute:,} a minute"
            )


class AccessControl:
    """ASGI middleware that lets nobody in whom `access` does not; with None, all but admin."""

    def __init__(self, app: ASGIApp, access: Access | None) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Problem as problem:
            if _has_large_body(scope):
                problem.headers["Connection"] = "close"
            await refuse_request(problem, scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        path = scope["path"]
        if self._access is None:
            if is_admin_path(path):
                remedy = "see --keys, or reload by SIGHUP"
                raise Problem("forbidden", f"no admin key is configured: {remedy}")
        elif not is_open(scope["method"], path):
            key = self._access.key_of(HTTPConnection(scope))
            scope["state"]["key_name"] = key.name  # for the log, also of what is refused next
            self._access.admit(key, path)


def _unauthorized(detail: str) -> Problem:
    return Problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def is_admin_path(path: str) -> bool:
    """Return whether an address is for admin keys alone."""
    return path == "/admin" or path.startswith("/admin/")


def is_same_origin(connection: HTTPConnection, *, unsaid: bool = False) -> bool:
    """Return whether a browser says that a page of this very origin asks; `unsaid` if it is silent.

    Browsers send Sec-Fetch-Site over https and to loopback, and Origin with whatever may change
    something; only what is no browser sends neither.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = connection.headers.get("origin")
    if origin is None:
        return unsaid
    scheme, _, authority = origin.lower().partition("://")
    host = connection.headers.get("host", "").lower()
    default_port = {"http": ":80", "https": ":443"}.get(scheme, "")
    return authority != "" and authority in (host, host.removesuffix(default_port))


def is_open(method: str, path: str) -> bool:
    """Return whether an address needs no key."""
    if path in OPEN_PATHS or path.startswith(OPEN_FOLDERS):
        return True
    return method == "POST" and path == "/session"


def _bearer(connection: HTTPConnection) -> str | None:
    """Return the key of `Authorization: Bearer`; another scheme is somebody else's business."""
    for value in connection.headers.getlist("authorization"):
        scheme, _, key = value.strip().partition(" ")
        if scheme.lower() == "bearer":
            return key.strip()
    return None


def _has_large_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    declared = headers.get(b"content-length", b"0")
    if b"transfer-encoding" in headers or not declared.isdigit():
        return True
    return len(declared) > 12 or int(declared) > MAX_DISCARDED_BYTES


def _rate_limited(wait_s: int, reason: str) -> Problem:
    return Problem(
        "rate_limited",
        f"{reason}; try again in {wait_s} s",
        headers={"Retry-After": str(wait_s)},
    )
