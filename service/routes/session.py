"""A session for a browser: the page gives its key once, and then its pictures load."""

from fastapi import APIRouter, Request, Response

from service.access.gatekeeper import SESSION_COOKIE, Access
from service.access.sessions import SESSION_LIFETIME_S
from service.intake.uploads import BodyBounds, read_json
from service.problems import Problem, describe_problems
from service.routes.described_bodies import json_body
from service.routes.served import ServedHere
from service.schemas import SessionRequest

__all__ = ["router"]

# Nobody has shown a key yet.
MAX_BODY_BYTES = 4_096

router = APIRouter(tags=["operations"])


@router.post(
    "/session",
    summary="Open a session",
    status_code=204,
    response_class=Response,
    responses={
        204: {
            "description": "opened; the cookie is HttpOnly and SameSite=Strict",
            "headers": {"Set-Cookie": {"schema": {"type": "string"}}},
        },
        **describe_problems(
            "unauthorized",
            "forbidden",
            "not_found",
            "upload_timeout",
            "body_too_large",
            "unsupported_media_type",
            "invalid_request",
            "malformed_json",
            "rate_limited",
        ),
    },
    openapi_extra=json_body("SessionRequest"),
)
async def open_session(request: Request, served: ServedHere) -> Response:
    """Take a key and answer with a cookie that stands for it, for 12 hours.

    Where no keys are configured there is nothing to open: 404.
    """
    access: Access | None = request.app.state.access
    if access is None:
        raise Problem("not_found", "this service asks for no key, so there is no session to open")
    bounds = BodyBounds(max_bytes=MAX_BODY_BYTES, timeout_ms=served.bounds.timeout_ms)
    asked = await read_json(request, SessionRequest, bounds)
    answer = Response(status_code=204, headers={"Cache-Control": "no-store"})
    answer.set_cookie(
        SESSION_COOKIE,
        access.open_session(asked.key, request),
        max_age=SESSION_LIFETIME_S,
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer
