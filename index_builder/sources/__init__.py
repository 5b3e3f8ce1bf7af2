"""Where items come from: folders, tables and shards of pictures; files of captions."""

from index_builder.sources.entries import (
    CaptionEntry,
    CaptionSource,
    EntryError,
    ImageEntry,
    ImageSource,
    Span,
)
from index_builder.sources.opening import open_caption_source, open_image_source

__all__ = [
    "CaptionEntry",
    "CaptionSource",
    "EntryError",
    "ImageEntry",
    "ImageSource",
    "Span",
    "open_caption_source",
    "open_image_source",
]
