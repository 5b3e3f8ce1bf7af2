"""Apps behind the access control, until create_app puts it there."""

from collections.abc import Sequence
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware import Middleware

from service.access import Access, AccessControl
from service.api_keys import read_key_ring
from service.hosts import AllowedHosts, HostCheck
from service.routes import session


def start_afresh(access: Access, keys: Path) -> None:
    """Forget what was used and guessed, and use these keys: a new app takes seconds to make."""
    vars(access).update(vars(Access(read_key_ring(keys))))


def guard(
    app: FastAPI, keys: Path | None, *, hosts: Sequence[str] = ("*",), listening_on: str = "::1"
) -> FastAPI:
    access = Access(read_key_ring(keys)) if keys is not None else None
    app.state.access = access
    app.include_router(session.router)
    allowed = AllowedHosts(hosts, listening_on=listening_on)
    app.user_middleware.append(Middleware(HostCheck, allowed=allowed))
    app.user_middleware.append(Middleware(AccessControl, access=access))
    return app
