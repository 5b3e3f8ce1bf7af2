"""What only the operator may do: serve another version, index or checkpoint."""

from pathlib import Path

from fastapi import APIRouter, Request

from service.answers import ReloadAnswer
from service.filled_answers import reload_answer
from service.intake.uploads import read_json
from service.problems import describe_problems
from service.routes.described_bodies import json_body
from service.routes.served import ServedHere
from service.schemas import ReloadRequest

__all__ = ["router"]

router = APIRouter(tags=["operations"])


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
    openapi_extra=json_body("ReloadRequest"),
)
async def reload(request: Request, served: ServedHere) -> ReloadAnswer:
    """Open index and checkpoint beside those served, try them, and swap both at once.

    Queries under way finish on the pair that they began with. A pair that fails its checks is
    refused, and what was served still is.
    """
    asked = await read_json(request, ReloadRequest, served.bounds)
    index = None if asked.index is None else Path(asked.index)
    checkpoint = None if asked.checkpoint is None else Path(asked.checkpoint)
    return reload_answer(await served.serving.reload(index, checkpoint))
