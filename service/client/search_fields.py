"""What searches have in common, as keywords; what is not given is left to the service."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from service.client.pictures import ImageSource, image_query_of

__all__ = ["Part", "SearchFields", "checked_fields", "parts_of"]


class SearchFields(TypedDict, total=False):
    """Fields of all searches: see docs/api.md for each."""

    limit: int
    offset: int
    version: int | None
    target: Literal["images", "captions"]
    filter: Mapping[str, Any] | None
    group_by: Literal["image"] | None
    fold_duplicates_above: float | None
    mode: Literal["vector", "hybrid"]
    include: Sequence[Literal["image", "caption", "metadata"]]
    explain: bool


@dataclass(frozen=True)
class Part:
    """A sentence or a picture of a combined query; a weight below 0 leads away from it."""

    text: str | None = None
    image: ImageSource | None = None
    weight: float = 1.0


def checked_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields, as JSON takes them.

    Raises:
        TypeError: There is no such field; a misspelt keyword is found before anything is sent.
    """
    unknown = fields.keys() - SearchFields.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"no search has the field {sorted(unknown)[0]!r}; there are: "
            + ", ".join(SearchFields.__annotations__)
        )
    return dict(fields)


def parts_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    """Return the parts of a combined query as JSON.

    Raises:
        TypeError: One of them is no `Part`.
    """
    return [_part_of(part) for part in parts]


def _part_of(part: Part) -> dict[str, Any]:
    if not isinstance(part, Part):
        raise TypeError(f"a part is Part(text=...) or Part(image=...), found {part!r:.80}")
    content: dict[str, Any] = {}
    if part.text is not None:
        content["text"] = part.text
    if part.image is not None:
        content["image"] = image_query_of(part.image)
    return {**content, "weight": part.weight}
