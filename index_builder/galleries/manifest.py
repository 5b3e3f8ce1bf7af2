"""The contract of a gallery: what it was built from, what it holds, and how well it searches.

A gallery is opened only when everything in its manifest matches what lies beside it; the manifest
itself is vouched for by `versions/<n>.json`, which holds its sha256.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    ValidationError,
    model_validator,
)

from index_builder.galleries.damaged import damaged
from model.durable import write_file
from model.errors import GalleryIndexError
from model.identifiers import sha256_of_file
from model.precision import Precision

__all__ = [
    "ColumnType",
    "ColumnTypes",
    "FileRecord",
    "GalleryKind",
    "IndexKind",
    "IndexRecord",
    "LatencyRecord",
    "Manifest",
    "NamedKind",
    "Record",
    "gallery_name",
    "parse_record",
    "record_of_file",
]

_NAME_DIGITS = 16

GalleryKind = Literal["images", "captions"]
# Kinds with a name of their own; the others are factory strings of an expert.
NamedKind = Literal["exact", "hnsw", "ivf"]
IndexKind = Literal[NamedKind, "factory"]
ColumnType = Literal[
    "boolean", "integer", "number", "text",
    "boolean_list", "integer_list", "number_list", "text_list",
    "json",
]  # fmt: skip


class Record(BaseModel):
    """A small frozen JSON object; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def content(self) -> bytes:
        """Return what `write` writes: the same record, the same bytes."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    def write(self, path: Path) -> None:
        """Write this as JSON, atomically and durably."""
        write_file(path, self.content())


R = TypeVar("R", bound=Record)


class FileRecord(Record):
    """Size and hash of one file of a gallery."""

    size_bytes: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class LatencyRecord(Record):
    """How long a search for ten hits took on the machine that built the index."""

    batch_1_ms: float = Field(ge=0, description="one query")
    batch_64_ms: float = Field(ge=0, description="64 queries at once, all of them together")
    threads: int = Field(ge=1, description="threads that the searches might use")


class IndexRecord(Record):
    """The kind of vector index, how it is searched, and its measured quality."""

    kind: IndexKind = Field(
        description="exact: every vector is compared; hnsw: a graph; ivf: inverted lists of 8-bit "
        "codes; factory: what an expert asked FAISS for"
    )
    factory: str = Field(description="the index as a FAISS factory string")
    search_parameters: dict[str, PositiveInt] = Field(
        description="parameters of the search by name"
    )
    target_recall: float = Field(gt=0, le=1, description="recall_at_10 that was asked for")
    recall_at_10: float = Field(ge=0, le=1, description="measured against brute force in float64")
    recall_query_count: int = Field(ge=1, description="queries that recall_at_10 was measured on")
    query_source: str = Field(description="where those queries come from")
    latency: LatencyRecord
    size_bytes: int = Field(ge=1, description="of index.faiss")


class Manifest(Record):
    """Everything that an opener compares before it trusts a gallery."""

    schema_version: Literal[4]
    gallery: str = Field(description="name of the folder: <kind>-<hash of what it was built from>")
    kind: GalleryKind
    checkpoint_fingerprint: str = Field(pattern="^[0-9a-f]{64}$")
    encoder: str = Field(description="name of the network")
    precision: Precision = Field(description="what the network multiplied in")
    preprocessing: dict[str, Any] = Field(description="how pictures become pixels")
    dim: int = Field(ge=1)
    metric: Literal["inner_product"]
    count: int = Field(ge=1, description="items that can be found: rows without tombstones")
    row_count: int = Field(ge=1, description="rows of index.faiss and embeddings.f16")
    tombstone_count: int = Field(ge=0, description="rows whose items were removed")
    distinct_count: int = Field(ge=1, description="items with different contents")
    rejected_count: int = Field(ge=0, description="inputs set aside")
    item_list_sha256: str = Field(
        pattern="^[0-9a-f]{64}$", description="of the ids of all items, in row order"
    )
    columns: dict[str, ColumnType] = Field(description="metadata columns and their types")
    index: IndexRecord
    files: dict[str, FileRecord]
    created_at: datetime

    @model_validator(mode="after")
    def _counts_agree(self) -> "Manifest":
        if self.count + self.tombstone_count != self.row_count:
            raise ValueError("count and tombstone_count do not add up to row_count")
        return self


def parse_record(record: type[R], path: Path) -> R:
    """Return the record in the JSON file at `path`.

    Raises:
        GalleryIndexError: The file is missing, or is not such a record.
    """
    try:
        return record.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise damaged(f"{path} is missing") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise GalleryIndexError(
            f"{path} was edited or written by another release ({place}: {first['msg']}); "
            "build the index again"
        ) from error


def gallery_name(kind: GalleryKind, sha256: str) -> str:
    """Return the name of a gallery's folder; the hash is of all that it is made of."""
    return f"{kind}-{sha256[:_NAME_DIGITS]}"


def record_of_file(path: Path) -> FileRecord:
    """Return size and hash of a file."""
    return FileRecord(size_bytes=path.stat().st_size, sha256=sha256_of_file(path))


class ColumnTypes:
    """Finds the types of metadata columns, row by row; holds a few words a column.

    None fits every type; integers and numbers together are numbers; anything else that does not
    fit one type is `json`: kept and returned, not comparable. So are integers of more than 64 bits.
    """

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Take the metadata of one more item into account."""
        for name, value in row.items():
            self._seen.setdefault(name, set()).update(_types_of(value))

    def types(self) -> dict[str, ColumnType]:
        """Return the columns in order of appearance with the type that fits every value so far."""
        return {name: _one_type(types) for name, types in self._seen.items()}


def _types_of(value: Any) -> set[str]:
    if value is None:
        return set()
    if isinstance(value, list):
        elements = {_scalar_type(element) for element in value if element is not None}
        return {"list"} | {f"{element}_list" for element in elements}
    return {_scalar_type(value)}


def _scalar_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -(2**63) <= value < 2**63 else "json"
    if isinstance(value, float):
        return "number"
    return "text" if isinstance(value, str) else "json"


def _one_type(types: set[str]) -> ColumnType:
    is_list = "list" in types
    types = types - {"list"}
    for integer, number in (("integer", "number"), ("integer_list", "number_list")):
        if types == {integer, number}:
            types = {number}
    if not types:
        return "text_list" if is_list else "text"
    if len(types) > 1 or (is_list and not next(iter(types)).endswith("_list")):
        return "json"
    (only,) = types
    return "json" if only == "json_list" else only  # type: ignore[return-value]
