"""What log and metrics call the route of a request, also of one that was refused before routing."""

from collections.abc import Iterable

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Scope

__all__ = ["RouteNames"]

_NO_ROUTE = "other"


class RouteNames:
    """The templates of all routes, such as `/images/{id}`.

    Args:
        routes: Those of the app. A path that none of them has is no name: clients make up paths,
            and each would be a series of its own.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        self._routes = [route for route in routes if isinstance(route, Route)]

    def of(self, scope: Scope) -> str:
        """Return the template that routing found; where it was not asked, what it would find."""
        found = scope.get("route")
        if found is None:
            matching = (each for each in self._routes if each.matches(scope)[0] is not Match.NONE)
            found = next(matching, None)
        return getattr(found, "path", _NO_ROUTE)
