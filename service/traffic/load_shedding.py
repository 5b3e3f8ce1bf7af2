"""Load shedding: what there is no room for is refused before anything else is done with it.

Under ten times the load that can be answered, nine of ten requests are refused. Refused in their
route they would cost as much as the routing of an answer, on the core that should be answering.
Most are refused earlier still, by `EarlyRefusals`; here those whose bytes are not plain enough.
"""

from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import QueueFullError
from service.problems import overloaded, refuse_request
from service.traffic.admission import Admission

__all__ = ["SEARCHES", "LoadShedding"]

SEARCHES = frozenset({"/search", "/search/text", "/search/image", "/embed/text", "/embed/image"})


@dataclass(frozen=True)
class _Route:
    """Stands where routing would have put the route that it found, for log and metrics."""

    path: str


class LoadShedding:
    """ASGI middleware that answers 503 where even one query would be too much."""

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SEARCHES:
            try:
                self._admission.check_room()
            except QueueFullError as error:
                scope["route"] = _Route(scope["path"])
                await refuse_request(overloaded(error), scope, receive, send)
                return
        await self._app(scope, receive, send)
