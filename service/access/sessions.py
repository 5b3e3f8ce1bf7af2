"""Sessions of browsers: a signed value in a cookie stands for a key, so that pictures load.

`v1.<expiry>.<signature>.<name of the key>`: nothing is kept in memory, so a replica that has the
same `session_secret` accepts it. The signature covers the key's digest: a key that is changed or
taken out of the file ends its sessions. The value tells nothing about the key itself.
"""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable

from service.access.api_keys import ApiKey, KeyRing

__all__ = ["SESSION_LIFETIME_S", "open_session", "session_key"]

SESSION_LIFETIME_S = 12 * 3600


def open_session(ring: KeyRing, key: ApiKey, *, clock: Callable[[], float] = time.time) -> str:
    """Return the value of a session of `key`; it ends after `SESSION_LIFETIME_S`."""
    expires_at = int(clock()) + SESSION_LIFETIME_S
    return f"v1.{expires_at}.{_signature(ring, key, expires_at)}.{key.name}"


def session_key(
    ring: KeyRing, value: str, *, clock: Callable[[], float] = time.time
) -> ApiKey | None:
    """Return the key that a session stands for; None if it is forged, has ended, or its key has."""
    form, expires_at, signature, name = [*value.split(".", 3), "", "", ""][:4]
    key = ring.named(name)
    if form != "v1" or key is None or not (expires_at.isascii() and expires_at.isdecimal()):
        return None
    if len(expires_at) > 12 or not signature.isascii():
        return None
    if not hmac.compare_digest(signature, _signature(ring, key, int(expires_at))):
        return None
    return key if clock() < int(expires_at) else None


def _signature(ring: KeyRing, key: ApiKey, expires_at: int) -> str:
    signed = f"hrem session v1\n{expires_at}\n{key.digest.hex()}\n{key.name}".encode()
    mac = hmac.new(ring.session_secret, signed, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
