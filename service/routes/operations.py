"""What the people who run the service ask: what is served, is it well, how busy is it."""

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from service.answers import HealthAnswer, InfoAnswer
from service.filled_answers import info_answer
from service.problems import Problem, describe_problems
from service.routes.served import ServedHere

__all__ = ["router"]

router = APIRouter(tags=["operations"])


@router.get("/info", summary="What is served")
async def read_info(served: ServedHere) -> InfoAnswer:
    """Return the served index version, its galleries and its encoder."""
    with served.serving.leased() as pair:
        return await served.workers.run(served.workers.readers, info_answer, pair)


@router.get("/health/live", summary="Is the process alive?")
async def read_liveness() -> HealthAnswer:
    """Answer 200 as long as the process answers at all."""
    return HealthAnswer(status="live")


@router.get(
    "/health/ready",
    summary="Would a query be answered?",
    responses=describe_problems("not_ready"),
)
async def read_readiness(served: ServedHere) -> HealthAnswer:
    """Answer 200 only if a query would be answered now."""
    reason = await served.readiness.why_not()
    if reason is not None:
        raise Problem("not_ready", reason, headers={"Retry-After": "1"})
    return HealthAnswer(status="ready")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"description": "metrics", "content": {"text/plain": {}}}},
)
async def read_metrics(served: ServedHere) -> Response:
    """Return all metrics in Prometheus' text format."""
    exposition = served.metrics.exposition(is_ready=served.readiness.is_ready())
    return Response(exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.get("/openapi.json", summary="This document")
async def read_openapi(request: Request) -> dict[str, Any]:
    """Return the OpenAPI document of all addresses."""
    document: dict[str, Any] = request.app.openapi()
    return document
