"""What only the operator may do: serve another version, index or checkpoint."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request

from service.answers import ReloadAnswer
from service.intake.uploads import media_type_of, read_json, unsupported_media_type
from service.problems import describe_problems
from service.routes.served import ServedHere
from service.schemas import ReloadRequest

__all__ = ["router"]

JSON = "application/json"

router = APIRouter(tags=["operations"])
RELOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {JSON: {"schema": {"$ref": "#/components/schemas/ReloadRequest"}}},
}


@router.post(
    "/admin/reload",
    summary="Serve the newest version, or another index",
    responses=describe_problems(
        "upload_timeout",
        "reload_refused",
        "body_too_large",
        "unsupported_media_type",
        "invalid_request",
        "malformed_json",
    ),
    openapi_extra={"requestBody": RELOAD_BODY},
)
async def reload(request: Request, served: ServedHere) -> ReloadAnswer:
    """Open index and checkpoint beside those served, try them, and swap both at once.

    Queries under way finish on the pair that they began with. A pair that fails its checks is
    refused, and what was served still is.
    """
    if media_type_of(request) != JSON:
        raise unsupported_media_type(request, JSON)
    asked = await read_json(request, ReloadRequest, served.bounds)
    index = None if asked.index is None else Path(asked.index)
    checkpoint = None if asked.checkpoint is None else Path(asked.checkpoint)
    return ReloadAnswer.of(await served.serving.reload(index, checkpoint))
