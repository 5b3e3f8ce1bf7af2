"""A table of captions: `caption` or `captions`, and the picture they belong to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.sources.columns import checked_id, checked_path, other_columns
from index_builder.sources.entries import CaptionEntry, Rejection
from index_builder.sources.mixed_columns import MixedColumns
from index_builder.sources.problems import Problems
from index_builder.sources.row import Table
from index_builder.sources.table import open_table
from model.errors import DataError
from model.identifiers import caption_id

__all__ = ["CaptionTable", "caption_texts"]

_OWN_COLUMNS = frozenset({"caption", "captions", "id", "image_id", "image", "filename"})
# What people call the column with the caption, in any case.
_MEANT_AS_CAPTION = frozenset(
    {"caption", "captions", "comment", "description", "sentence", "text", "title"}
)


@dataclass(frozen=True)
class CaptionTable:
    """The captions of a table, in its order.

    Attributes:
        table: The rows.
    """

    table: Table

    @classmethod
    def open(cls, file: Path) -> "CaptionTable":
        """Return the captions of a `.jsonl`, `.csv` or `.parquet` file."""
        return cls(open_table(file, _OWN_COLUMNS))

    @property
    def description(self) -> str:
        """What it is, for people."""
        return str(self.table.path)

    def entries(self) -> Iterator[CaptionEntry | Rejection]:
        """Yield the captions in the order of the rows; those without words are set aside.

        Raises:
            DataError: The file cannot be used, or holds no caption.
        """
        names = self.table.names()
        if names is not None and not {"caption", "captions"} & set(names):
            meant = next((name for name in names if name.lower() in _MEANT_AS_CAPTION), None)
            hint = f"; call `{meant}` `caption` if it holds them" if meant else ""
            raise DataError(
                f"{self.description} has no column `caption` or `captions`; found "
                f"{', '.join(names) or 'none'}{hint}"
            )
        problems = Problems(self.description)
        columns = MixedColumns()
        is_empty = True
        first_place = 0
        for place, values in self.table.rows(problems):
            try:
                texts = caption_texts(values)
                about = _about(values)
                ids = _ids(values, texts, first_place)
            except DataError as error:
                problems.add_at(place, str(error))
                continue
            first_place += len(texts)
            columns.look_at(place, about["metadata"])
            for item_id, text in zip(ids, texts, strict=True):
                if text:
                    is_empty = False
                    yield CaptionEntry(
                        item_id, text, **about, has_own_id=_has_own_id(values), origin=place
                    )
                else:
                    yield Rejection(place, "empty", "the caption has no words")
        problems.refuse()
        columns.warn()
        if is_empty:
            raise DataError(f"{self.description} holds no caption; write one with `caption` a row")


def caption_texts(row: dict[str, Any]) -> list[str]:
    """Return the captions of a row without white space around them; some may be empty.

    Raises:
        DataError: There are none, or they are no texts.
    """
    one, several = row.get("caption"), row.get("captions")
    has_column = "caption" in row or "captions" in row
    if not has_column or (one is not None and several is not None):
        raise DataError("expected either `caption` or `captions`")
    texts = several if several is not None else ["" if one is None else one]
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise DataError("`caption` must be a text and `captions` a list of texts")
    return [text.strip() for text in texts]


def _is_of_a_picture(row: dict[str, Any]) -> bool:
    """Return whether `id` is the picture's: in a row with all captions of it, as training reads."""
    return row.get("captions") is not None and row.get("image_id") is None


def _has_own_id(row: dict[str, Any]) -> bool:
    return row.get("id") is not None and not _is_of_a_picture(row)


def _ids(row: dict[str, Any], texts: Sequence[str], first_place: int) -> list[str]:
    given = row.get("id")
    if not _has_own_id(row):
        return [caption_id(text, place) for place, text in enumerate(texts, first_place)]
    if row.get("captions") is not None:
        return [checked_id(f"{given}.{number}", "id") for number in range(len(texts))]
    return [checked_id(given, "id")]


def _about(row: dict[str, Any]) -> dict[str, Any]:
    image_id = row.get("id" if _is_of_a_picture(row) else "image_id")
    path = row.get("image")
    if path is None:
        path = row.get("filename")
    return {
        "image_id": None if image_id is None else checked_id(image_id, "image_id"),
        "image_path": None if path is None else checked_path(path, "image"),
        "metadata": other_columns(row, _OWN_COLUMNS),
    }
