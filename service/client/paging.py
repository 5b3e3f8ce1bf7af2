"""Page after page of one ranking, apart from how each is asked."""

from collections.abc import Sequence
from typing import TypeAlias, TypeGuard, cast

from service.answers import SearchAnswer
from service.client.calls import Call, search, search_image, search_text
from service.client.pictures import ImageSource
from service.client.search_fields import Part, SearchFields

__all__ = ["Paging", "Query"]

PAGE_SIZE = 10

Query: TypeAlias = str | ImageSource | Sequence[Part]


class Paging:
    """Knows the call of the next page; the version of the first answer is asked of all others.

    Args:
        query: A sentence, a picture, or the parts of a combined query.
        most_hits: How many hits all pages have together, at most.
        fields: What all searches have in common; `limit` is the size of a page.
    """

    def __init__(self, query: Query, most_hits: int, fields: SearchFields) -> None:
        self._query = query
        self._left = most_hits
        self._fields = fields
        self._offset: int | None = fields.get("offset", 0)

    def next_call(self) -> Call[SearchAnswer] | None:
        """Return how to ask for the next page; None if there is none."""
        if self._offset is None or self._left < 1:
            return None
        limit = min(self._fields.get("limit", PAGE_SIZE), self._left)
        fields: SearchFields = {**self._fields, "limit": limit, "offset": self._offset}
        if isinstance(self._query, str):
            return search_text(self._query, **fields)
        if _are_parts(self._query):
            return search(self._query, **fields)
        return search_image(cast(ImageSource, self._query), **fields)

    def take(self, answer: SearchAnswer) -> None:
        """Learn from a page what comes next."""
        self._fields = {**self._fields, "version": answer.index.version}
        self._offset = answer.results[0].next_offset
        self._left -= len(answer.hits)


def _are_parts(query: Query) -> TypeGuard[Sequence[Part]]:
    return isinstance(query, Sequence) and not isinstance(query, str | bytes)
