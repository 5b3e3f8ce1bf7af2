"""Which host names the service answers for: another site's name must not lead here.

A page of any site can have its own name resolve to 127.0.0.1 and then read what is served there as
if it were its own (DNS rebinding); what the browser cannot hide is the name it asked for. So a
service that listens on loopback answers for loopback names only, unless it is told others.
"""

import ipaddress
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.problems import Problem, refuse_request

__all__ = ["HEALTH", "AllowedHosts", "HostCheck", "checked_host_pattern", "is_loopback"]

ANY = "*"
# Asked for by the machine that runs the container, under whatever address it has.
HEALTH = "/health/"


class AllowedHosts:
    """Loopback names, and those of `patterns`: `a.org`, `*.a.org` (its subdomains), or `*`."""

    def __init__(self, patterns: Sequence[str], *, listening_on: str) -> None:
        """Without patterns every host is allowed, except where one listens on loopback."""
        self._names = frozenset(one for one in patterns if not one.startswith("*."))
        self._endings = tuple(one[1:] for one in patterns if one.startswith("*."))
        self._allows_any = ANY in patterns or not (patterns or is_loopback(listening_on))

    def allow(self, host_header: str) -> bool:
        """Return whether the service answers for the `Host` of a request."""
        if self._allows_any:
            return True
        parsed = re.fullmatch(r"(\[[^\]]+\]|[^:]+)(?::\d{1,5})?", host_header.strip().lower())
        if parsed is None:
            return False
        host = parsed[1].strip("[]").removesuffix(".")
        return host in self._names or host.endswith(self._endings) or is_loopback(host)


class HostCheck:
    """ASGI middleware that answers for allowed hosts only; health can be asked by any name."""

    def __init__(self, app: ASGIApp, allowed: AllowedHosts) -> None:
        self._app = app
        self._allowed = allowed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not scope["path"].startswith(HEALTH):
            host = Headers(scope=scope).get("host", "")
            if not self._allowed.allow(host):
                problem = Problem(
                    "host_not_allowed",
                    f"the service does not answer for the host {host[:100]!r}; "
                    "if it is meant to, add the name to --allowed-hosts",
                    headers={"Connection": "close"},
                )
                await refuse_request(problem, scope, receive, send)
                return
        await self._app(scope, receive, send)


def checked_host_pattern(pattern: str) -> str:
    """Return a pattern of hosts in lower case.

    Raises:
        ValueError: It is no host name or address without port, `*.` and a name, or `*`.
    """
    lowered = pattern.strip().lower().removesuffix(".")
    if lowered == ANY or re.fullmatch(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", lowered):
        return lowered
    try:
        return str(ipaddress.ip_address(lowered.strip("[]")))
    except ValueError:
        raise ValueError(
            f"{pattern!r} is no host; give names such as search.example.org, without scheme or "
            "port, *.example.org for all below it, or * for any"
        ) from None


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
