"""The keys that open the service, read from a TOML file; only their digests are kept.

    session_secret = "..."          # optional: the same text on every replica

    [[keys]]
    name = "page"                   # stands in the logs
    key = "..."                     # or: sha256 = "64 hex digits of its SHA-256"
    rate_per_minute = 1200          # optional
    burst = 300                     # optional
    admin = false                   # optional; true opens /admin/* too

A file that is empty or wrong refuses to start, and every problem is told; no key is ever repeated
in a message.
"""

import hashlib
import hmac
import logging
import re
import secrets
import stat
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from model.errors import ConfigError

__all__ = ["MIN_KEY_CHARACTERS", "ApiKey", "KeyRing", "digest_of", "read_key_ring"]

MIN_KEY_CHARACTERS = 16
DEFAULT_RATE_PER_MINUTE = 1_200
DEFAULT_BURST = 300
EXAMPLE = (
    '[[keys]] name = "page" key = "...", made with: '
    "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApiKey:
    """One key, without its text.

    Attributes:
        name: For the logs; 1 to 64 of `A-Za-z0-9._-`.
        digest: SHA-256 of the key's bytes.
        rate_per_minute: Requests that come back a minute.
        burst: Requests at once.
        is_admin: Opens `/admin/*` beside everything else.
    """

    name: str
    digest: bytes = field(repr=False)
    rate_per_minute: int = DEFAULT_RATE_PER_MINUTE
    burst: int = DEFAULT_BURST
    is_admin: bool = False


@dataclass(frozen=True)
class KeyRing:
    """All keys of one file, and the secret that signs sessions."""

    keys: tuple[ApiKey, ...]
    session_secret: bytes = field(repr=False)

    def find(self, digest: bytes) -> ApiKey | None:
        """Return the key of this digest, after as long a comparison whichever it is, or none."""
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def named(self, name: str) -> ApiKey | None:
        """Return the key of this name."""
        return next((key for key in self.keys if key.name == name), None)


def digest_of(key: str) -> bytes:
    """Return the SHA-256 of a key's text."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def read_key_ring(path: Path, *, session_secret: bytes | None = None) -> KeyRing:
    """Return the keys of a file; warns in the log if everyone on the machine can read it.

    Args:
        path: TOML file as described above.
        session_secret: What signs sessions if the file does not say; by default a new random one.

    Raises:
        ConfigError: The file cannot be read, holds no key, or is wrong; every problem is told.
    """
    place = f"keys = '{path}'"
    try:
        mode = path.stat().st_mode
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError([f"{place}: {error.strerror}; give a TOML file of keys"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{place}: not UTF-8 text; give a TOML file of keys"]) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"{place}: not valid TOML: {error}"]) from error
    if not written.get("keys"):
        raise ConfigError([f"{place}: holds no key; add one: {EXAMPLE}"])
    problems = _wrong_together(written["keys"])
    try:
        file = _KeyFile.model_validate(written)
    except ValidationError as error:
        wrong = [_problem(detail) for detail in error.errors(include_input=False)]
        raise ConfigError([f"{place}: {problem}" for problem in wrong + problems]) from error
    if problems:
        raise ConfigError([f"{place}: {problem}" for problem in problems])
    keys = tuple(entry.as_key() for entry in file.keys)
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        log.warning("%s can be read by everyone on this machine; run: chmod o= %s", path, path)
    if file.session_secret is not None:
        session_secret = file.session_secret.encode()
    return KeyRing(keys, session_secret or secrets.token_bytes(32))


def _usable_key(key: str) -> str:
    if len(key) < MIN_KEY_CHARACTERS:
        raise ValueError(f"{len(key)} characters, at least {MIN_KEY_CHARACTERS} are needed")
    if not re.fullmatch(r"[!-~]+", key):
        raise ValueError("spaces or characters outside ASCII, which no header carries")
    return key


def _usable_digest(digest: str) -> str:
    if not re.fullmatch("[0-9a-fA-F]{64}", digest):
        raise ValueError("not 64 hex digits; make it with: printf %s KEY | sha256sum")
    return digest


class _KeyEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, StringConstraints(pattern=r"\A[A-Za-z0-9._-]{1,64}\z")]
    key: Annotated[str, AfterValidator(_usable_key)] | None = None
    sha256: Annotated[str, AfterValidator(_usable_digest)] | None = None
    rate_per_minute: int = Field(default=DEFAULT_RATE_PER_MINUTE, ge=1)
    burst: int = Field(default=DEFAULT_BURST, ge=1)
    admin: bool = False

    def as_key(self) -> ApiKey:
        digest = digest_of(self.key) if self.key is not None else bytes.fromhex(self.sha256 or "")
        return ApiKey(self.name, digest, self.rate_per_minute, self.burst, self.admin)


class _KeyFile(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    session_secret: Annotated[str, Field(min_length=32)] | None = None
    keys: list[_KeyEntry]


def _problem(detail: Any) -> str:
    place = ""
    for part in detail["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else part
    if detail["type"] == "value_error":
        return f"{place}: {detail['ctx']['error']}"
    if detail["type"] == "extra_forbidden":
        return f"{place}: unknown setting"
    if detail["type"] == "string_pattern_mismatch":
        return f"{place}: use 1 to 64 of A-Z a-z 0-9 . _ -"
    return f"{place}: {detail['msg'][0].lower()}{detail['msg'][1:]}"


def _wrong_together(entries: Any) -> list[str]:
    """Return what is wrong between fields and between entries, whatever else is wrong in them."""
    if not isinstance(entries, list):
        return []
    problems = []
    first: dict[tuple[str, str], int] = {}
    for place, entry in enumerate(entries):
        if isinstance(entry, dict) and ("key" in entry) == ("sha256" in entry):
            problems.append(f"keys[{place}]: give exactly one of key and sha256")
        for what, value in _told_apart_by(entry):
            earlier = first.setdefault((what, value), place)
            if earlier != place:
                told = f"the name {value}" if what == "name" else "the key"
                problems.append(f"keys[{place}]: {told} is keys[{earlier}]'s too")
    return problems


def _told_apart_by(entry: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(entry, dict):
        return
    if isinstance(name := entry.get("name"), str):
        yield "name", name
    if isinstance(key := entry.get("key"), str):
        yield "key", digest_of(key).hex()
    elif isinstance(digest := entry.get("sha256"), str):
        yield "key", digest.lower()
