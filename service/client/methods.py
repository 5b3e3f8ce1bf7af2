"""What both clients share but the sending: signatures from `calls`, and how they are set up."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypedDict

import httpx

__all__ = ["HttpSettings", "described_by", "http_settings"]


class HttpSettings(TypedDict):
    """Arguments of httpx's clients."""

    base_url: httpx.URL
    headers: dict[str, str]


def http_settings(url: str, key: str | None) -> HttpSettings:
    """Return what httpx's clients are made with.

    Raises:
        ValueError: The address is none.
    """
    base_url = httpx.URL(url)
    if base_url.scheme not in ("http", "https") or not base_url.host:
        raise ValueError(f"{url!r} is no address of a service; give http://HOST:PORT")
    return {
        "base_url": base_url,
        "headers": {} if key is None else {"Authorization": f"Bearer {key}"},
    }


def described_by(build: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a method the name, words and parameters of a call."""

    def describe(method: Callable[..., Any]) -> Callable[..., Any]:
        described = wraps(build)(method)
        signature = inspect.signature(build)
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        described.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[own, *signature.parameters.values()], return_annotation=signature.empty
        )
        return described

    return describe
