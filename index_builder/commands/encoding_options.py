"""Options of the commands that encode: `build` and `add`."""

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from index_builder.encoding.workers import allowed_core_count
from index_builder.listing.rejections import RejectionLimit

__all__ = [
    "KEPT_BYTES",
    "BatchSize",
    "Device",
    "Limit",
    "PartSize",
    "Workers",
    "rejection_limit",
    "worker_count",
]

# What the encoder frees and takes again with every batch, of most networks.
KEPT_BYTES = 512 << 20


def _limit(text: str) -> str:
    return RejectionLimit(text).text


Limit = Annotated[str, BeforeValidator(str), AfterValidator(_limit)]
Device = Annotated[str, Field(description="cpu, cuda, or auto: cuda where there is one")]
BatchSize = Annotated[int, Field(ge=1, le=4096, description="items encoded at once")]
PartSize = Annotated[
    int,
    Field(
        ge=1,
        le=1_000_000,
        description="items that are written at once, which is what a kill costs at most",
    ),
]
Workers = Annotated[
    int | None,
    Field(
        ge=0,
        le=1024,
        description="processes that read and decode pictures; 0 = none but this one; default: one "
        "for each core",
    ),
]


def rejection_limit(asked: str | None) -> RejectionLimit | None:
    """Return how many inputs may be set aside; None where nobody asked for a limit."""
    return None if asked is None else RejectionLimit(asked)


def worker_count(asked: int | None) -> int:
    """Return how many processes read pictures: those asked for, or one for each core."""
    return allowed_core_count() if asked is None else asked
