"""Headers that tell a browser to trust nothing but this service's own files."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["SafetyHeaders", "safety_headers"]

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    # data: and blob: show the picture that a person has just dropped on the page.
    "img-src": "'self' data: blob:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
# Swagger UI sets style attributes from its scripts.
DOCS_POLICY = {**POLICY, "style-src": "'self' 'unsafe-inline'"}
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SafetyHeaders:
    """ASGI middleware that puts the headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        safe = safety_headers(scope["path"])

        async def send_safe(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(safe)
            await send(message)

        await self._app(scope, receive, send_safe)


def safety_headers(path: str) -> dict[str, str]:
    """Return the headers of what is answered at a path."""
    return _OF_DOCS if path == "/docs" else _OF_ALL


def _with_policy(policy: dict[str, str]) -> dict[str, str]:
    written = "; ".join(f"{directive} {sources}" for directive, sources in policy.items())
    return {**HEADERS, "Content-Security-Policy": written}


_OF_ALL, _OF_DOCS = _with_policy(POLICY), _with_policy(DOCS_POLICY)
