"""Why the service cannot answer a query; `problems` turns each into one HTTP answer.

ServiceError
└── QueryError               one query, not the service, fails
    ├── StaleVersionError    the asked-for index version is not served
    ├── MissingGalleryError  this index has no gallery of that kind
    ├── UnknownItemError     the gallery has no item of that id
    ├── NoPictureError       the item is known, and is the regions of an image without a picture
    ├── SourceGoneError      the item is known, its picture file is not there any more
    ├── UnsupportedInputError  the encoder cannot read this kind of query
    ├── NoWordsError         hybrid search with a query that has no words
    ├── PartsCancelError     the weighted parts of a query add up to nothing
    ├── CannotExplainError   the encoder, or a pair of one kind, has no explanation
    ├── BadFilterError       a filter names columns that the gallery has not, or of other types
    ├── BadPicturesError     uploads that are no pictures, or too large ones
    ├── UrlNotAllowedError   pictures are not fetched from such a URL
    ├── UrlUnreachableError  what is at a URL could not be had
    ├── FetchTooLargeError   what is at a URL is larger than a picture may be
    ├── QueueFullError       more is waiting than the queue holds
    │   └── StoppingError    the service is stopping
    ├── DeadlineError        the answer would come too late
    └── ReloadRefusedError   another index cannot be served; what was served still is
"""

from collections.abc import Sequence
from dataclasses import dataclass

from index_builder.lookups.filter_checks import FilterError
from model.errors import PictureError, ServiceError

__all__ = [
    "BadFilterError",
    "BadPicture",
    "BadPicturesError",
    "CannotExplainError",
    "DeadlineError",
    "FetchTooLargeError",
    "MissingGalleryError",
    "NoPictureError",
    "NoWordsError",
    "PartsCancelError",
    "QueryError",
    "QueueFullError",
    "ReloadRefusedError",
    "SourceGoneError",
    "StaleVersionError",
    "StoppingError",
    "UnknownItemError",
    "UnsupportedInputError",
    "UrlNotAllowedError",
    "UrlUnreachableError",
]


class QueryError(ServiceError):
    """One query cannot be answered."""


class StaleVersionError(QueryError):
    """The asked-for index version is not served."""


class MissingGalleryError(QueryError):
    """This index has no gallery of the asked-for kind."""


class UnknownItemError(QueryError):
    """The gallery has no item of that id."""


class NoPictureError(QueryError):
    """The item was indexed by its region features; there is no picture of it."""


class SourceGoneError(QueryError):
    """The item's picture file is not there, or no picture, any more."""


class UnsupportedInputError(QueryError):
    """The encoder cannot read this kind of query, such as pictures."""


class UrlNotAllowedError(QueryError):
    """Pictures are not fetched from such a URL: none is, or not from that host or address."""


class UrlUnreachableError(QueryError):
    """What is at a URL could not be had in time."""


class FetchTooLargeError(QueryError):
    """What is at a URL is larger than a picture may be; it was read no further."""


class NoWordsError(QueryError):
    """Hybrid search was asked for with a query that has no words."""


class PartsCancelError(QueryError):
    """The weighted parts of a query add up to nothing, so that it points nowhere."""


class CannotExplainError(QueryError):
    """What was asked for cannot be explained."""


class BadFilterError(QueryError):
    """The filter of a request does not suit the gallery.

    Attributes:
        problems: Every single thing that is wrong with it.
        where: Its place in the request.
    """

    def __init__(self, error: FilterError, *, where: str = "filter") -> None:
        super().__init__(str(error))
        self.problems = error.problems
        self.where = where


class QueueFullError(QueryError):
    """More is waiting than the queue holds.

    Attributes:
        retry_after_s: When trying again makes sense, whole seconds.
    """

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class StoppingError(QueueFullError):
    """The service is stopping; there is room at another one."""

    def __init__(self) -> None:
        super().__init__("the service is stopping; ask another one")


class DeadlineError(QueryError):
    """The answer would come after the query's deadline."""


class ReloadRefusedError(QueryError):
    """Another index or checkpoint cannot be served; what was served before still is."""


@dataclass(frozen=True)
class BadPicture:
    """One upload that cannot be used: where in the request it stands, and why.

    The error itself is not kept: its traceback holds the bytes of the picture, and in a thread's
    frame itself, so that they would stay until the garbage collector comes by.
    """

    where: str
    kind: type[PictureError]
    reason: str

    @classmethod
    def of(cls, where: str, error: PictureError) -> "BadPicture":
        """Return what `error` says of the upload at `where`."""
        return cls(where, type(error), str(error))


class BadPicturesError(QueryError):
    """Uploads of one request that cannot be used; one of them refuses the whole request.

    Attributes:
        pictures: Every bad one of those looked at.
    """

    def __init__(self, pictures: Sequence[BadPicture]) -> None:
        super().__init__("; ".join(f"{bad.where}: {bad.reason}" for bad in pictures))
        self.pictures = list(pictures)
