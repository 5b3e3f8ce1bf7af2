"""The tree of errors that this project raises on purpose; upper floors add kinds of their own.

HremError                      one sentence, exit status 1
├── ConfigError                wrong settings: every problem, one line each, exit status 2
├── CheckpointError            a checkpoint is missing, damaged or not what was expected
├── DataError                  a data set or gallery source cannot be used
│   ├── EmptyItemError         an image without regions, a caption without words
│   ├── NoSplitsError          a split is asked of captions that name none
│   ├── RegionFeatureError     region features of the wrong width, type or count
│   └── PictureError
│       ├── UnreadablePictureError   not a picture, truncated, or of a format not on the list
│       └── TooManyPixelsError       larger than the pixel limit, seen before decoding
├── TrainingError              a run cannot start or go on
│   ├── BatchTooLargeError     a batch does not fit in memory
│   └── NonFiniteLossError     a loss term became NaN or infinite
├── GalleryIndexError          an index folder is missing, damaged or does not match
│   └── NoIndexError           a folder without an index, or no folder at all
└── ServiceError               the service cannot start

A message says what was found, what was expected, and what to do.
"""

from collections.abc import Sequence

__all__ = [
    "BatchTooLargeError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "EmptyItemError",
    "GalleryIndexError",
    "HremError",
    "NoIndexError",
    "NoSplitsError",
    "NonFiniteLossError",
    "PictureError",
    "RegionFeatureError",
    "ServiceError",
    "TooManyPixelsError",
    "TrainingError",
    "UnreadablePictureError",
]


class HremError(Exception):
    """A foreseen failure; its text is one sentence for the user.

    Example:
        >>> raise HremError("no checkpoint at runs/x; train one with: make demo")
    """


class ConfigError(HremError):
    """Wrong settings.

    Attributes:
        problems: One line for each thing that is wrong.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        """Keep every problem, so that all are told at once."""
        self.problems = list(problems)
        super().__init__("; ".join(self.problems))


class CheckpointError(HremError):
    """A checkpoint is missing, damaged or not the one that was expected."""


class DataError(HremError):
    """A data set or the source of a gallery cannot be used."""


class EmptyItemError(DataError):
    """An image has no real region, or a caption no real word."""


class NoSplitsError(DataError):
    """A split is asked of captions that name no split at all."""


class RegionFeatureError(DataError):
    """Region features have the wrong width, type, count or values."""


class PictureError(DataError):
    """A picture cannot be used."""


class UnreadablePictureError(PictureError):
    """Bytes that are no picture, are truncated, or of a format not on the list."""


class TooManyPixelsError(PictureError):
    """A picture has more pixels than the limit; it was not decoded."""


class TrainingError(HremError):
    """A training run cannot start or go on."""


class BatchTooLargeError(TrainingError):
    """Memory ran out in a batch."""


class NonFiniteLossError(TrainingError):
    """A loss term became NaN or infinite."""


class GalleryIndexError(HremError):
    """An index folder is missing, damaged or does not match what it is used with."""


class DamagedIndexError(GalleryIndexError):
    """A file of an index is missing, cut short or altered; the message is about nothing else."""


class NoIndexError(GalleryIndexError):
    """There is no index in a folder, or there is no such folder."""


class ServiceError(HremError):
    """The service cannot start."""
