"""What sources name, item by item, and what every source can do.

    ImageSource     entries() -> ImageEntry or Rejection, one at a time      read(entry) -> bytes
    CaptionSource   entries() -> CaptionEntry or Rejection, one at a time

A source streams: however many items it names, only one of them is held, so a listing is written
while it is read. What is wrong with the source itself is collected on the way (the first ten and
their number) and told by one DataError in place of the end; so read to the end before anything is
encoded. Equal ids are found by whoever lists (`index_builder.listing.listed_source`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from model.errors import DataError

__all__ = [
    "CaptionEntry",
    "CaptionSource",
    "EntryError",
    "ImageEntry",
    "ImageSource",
    "Rejection",
    "Span",
]


class Span(NamedTuple):
    """Where the bytes of a picture lie in the file that holds it and others.

    Attributes:
        offset: Of the first byte.
        size: In bytes.
    """

    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A picture that was named; nobody has looked at it yet.

    Attributes:
        id: Given, or made from the path.
        path: Posix, relative to the images' root; of a member of a shard `shard.tar/member.jpg`.
        metadata: The other columns.
        span: Where in the shard its bytes lie; None for a file of its own.
        has_own_id: The source gave the id; else it is made.
    """

    id: str
    path: str
    metadata: dict[str, Any] = field(default_factory=dict)
    span: Span | None = None
    has_own_id: bool = True


@dataclass(frozen=True, slots=True)
class CaptionEntry:
    """A caption.

    Attributes:
        id: Given, or made from the text and its place.
        text: Not empty, without white space around it.
        image_id: The picture it belongs to, if the source named it by id.
        image_path: The picture it belongs to, if the source named it by path.
        metadata: The other columns.
        has_own_id: The source gave the id; else it is made.
        origin: Where it stands in the source, for people.
    """

    id: str
    text: str
    image_id: str | None = None
    image_path: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    has_own_id: bool = True
    origin: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Rejection:
    """An input that was set aside.

    Attributes:
        place: Where it came from: a path, or file:line.
        code: `missing`, `unreadable`, `too_many_pixels`, `too_large`, `outside_root`, `changed`,
            `crashed`, `no_picture`, `empty`.
        reason: One sentence.
    """

    place: str
    code: str
    reason: str


class EntryError(DataError):
    """The bytes of one entry cannot be had; the others can.

    Attributes:
        rejection: What to note about it.
    """

    def __init__(self, place: str, code: str, reason: str) -> None:
        """Keep the arguments, so that the error can travel between processes."""
        super().__init__(place, code, reason)
        self.rejection = Rejection(place, code, reason)

    def __str__(self) -> str:
        """Return place and reason."""
        return f"{self.rejection.place}: {self.rejection.reason}"


class ImageSource(Protocol):
    """Pictures in row order.

    Can be pickled, so that `read` works in another process.
    """

    @property
    def root(self) -> Path | None:
        """The folder that the paths are relative to, absolute; None where there are no files."""

    @property
    def description(self) -> str:
        """What it is, for people."""

    def entries(self) -> Iterator[ImageEntry | Rejection]:
        """Yield what is named, in an order that only the source decides.

        Raises:
            DataError: The source cannot be used, or names nothing; every problem is told.
        """

    def read(self, entry: ImageEntry) -> bytes:
        """Return the bytes of one picture's file, as they are stored.

        Raises:
            EntryError: They cannot be had: `missing`, `unreadable`, `too_large`, `changed` or
                `outside_root`.
        """


class CaptionSource(Protocol):
    """Captions in row order. Can be pickled."""

    @property
    def description(self) -> str:
        """What it is, for people."""

    def entries(self) -> Iterator[CaptionEntry | Rejection]:
        """Yield what is named, in an order that only the source decides.

        Raises:
            DataError: The source cannot be used, or names nothing; every problem is told.
        """
