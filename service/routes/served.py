"""What a route works with: the retriever, the settings and the metrics of its app."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.observability import Metrics
from service.retriever import Retriever
from service.uploads import BodyBounds

__all__ = ["Served", "ServedHere"]


@dataclass(frozen=True)
class Served:
    """What one app serves, and within which bounds."""

    retriever: Retriever
    metrics: Metrics
    bounds: BodyBounds


async def _served_here(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


ServedHere = Annotated[Served, Depends(_served_here)]
