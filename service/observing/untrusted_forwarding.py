"""Tells the operator of a proxy that nobody trusts: all its clients then look like one.

What `X-Forwarded-For` says is believed from `--trusted-proxies` only. Behind another proxy every
client has the proxy's address, in the log and where wrong keys are counted, and nothing fails.
"""

import logging

from starlette.types import Scope

__all__ = ["UntrustedForwarding"]

# A service that strangers reach directly is sent such headers too; their lines must not fill a log.
MAX_TOLD = 5

log = logging.getLogger("service.proxies")


class UntrustedForwarding:
    """Warns once of each of the first few addresses that forward for others without our trust."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def watch(self, scope: Scope) -> None:
        """Look at a request, after the server has believed the proxies that it trusts."""
        client = scope.get("client")
        if client is None or client[0] in self._told or len(self._told) == MAX_TOLD:
            return
        named = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
        # Of a trusted proxy the server has put the client that the header names in its place.
        if not named or client[0].lower().encode() in named.lower():
            return
        self._told.add(client[0])
        log.warning(
            "%s sends X-Forwarded-For and is not trusted; if it is your proxy, add it to "
            "--trusted-proxies, or clients behind it share one address, and wrong keys of one of "
            "them lock out the others",
            client[0],
        )
