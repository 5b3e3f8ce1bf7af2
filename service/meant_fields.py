"""What a field that a schema does not know was probably meant to be."""

import difflib
from collections.abc import Collection, Sequence
from typing import Any, get_args

from pydantic import BaseModel

__all__ = ["hint_at_field"]

# Longer than every name of a field; comparing takes time, and clients choose the text.
MAX_CHARACTERS = 64
# As alike as `limt` and `limit` (0.89); `text`, for want of a `query`, is not meant to be `target`.
_MISSPELT = 0.75


def hint_at_field(
    schema: type[BaseModel], place: Sequence[str | int], missing: Collection[str] = ()
) -> str:
    """Return "; did you mean limit?" of an unknown field, or nothing where no name is near.

    Args:
        schema: What the whole was read as.
        place: Of the field in it, as pydantic names it: `("parts", 0, "wieght")`.
        missing: Fields beside it that are required and were not given.
    """
    *outer, name = place
    inside: type[BaseModel] | None = schema
    for part in outer:
        if isinstance(part, str) and inside is not None:
            field = inside.model_fields.get(part)
            inside = None if field is None else _model_in(field.annotation)
    if inside is None or len(str(name)) > MAX_CHARACTERS:
        return ""
    close = (
        difflib.get_close_matches(str(name), inside.model_fields, n=1, cutoff=_MISSPELT)
        or (list(missing) if len(missing) == 1 else [])
        or difflib.get_close_matches(str(name), inside.model_fields, n=1)
    )
    return f"; did you mean {close[0]}?" if close else ""


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the schema in `Model`, `Model | None` or `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for one in get_args(annotation) if (model := _model_in(one))), None)
