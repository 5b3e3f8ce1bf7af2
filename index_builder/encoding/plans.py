"""The plan of a gallery: what it is made of, before anything is read or encoded."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from index_builder.encoding.encodings import CaptionEncoding, Encoding, PictureEncoding
from index_builder.encoding.known_contents import KnownContents
from index_builder.encoding.region_encoding import RegionEncoding
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind, IndexKind
from index_builder.listing.listed_source import Listing
from index_builder.sources import ImageSource
from index_builder.sources.region_array import RegionSource
from model.dual_encoder import DualEncoder

__all__ = ["GalleryPlan", "OpenEncoding", "caption_plan", "image_plan"]

OpenEncoding = Callable[[Path, KnownContents | None], Encoding]


@dataclass(frozen=True)
class GalleryPlan:
    """What a gallery is to be made of.

    Attributes:
        kind: Images or captions.
        listing: What the source named.
        open_encoding: Opens the way from entries to vectors, given the work folder and the
            contents that need no encoding.
        index_kind: Of its vector index.
        root: Of pictures; None where there are none.
        served: The gallery of this kind that is served now.
        input_count: All inputs that the source named, where the listing holds some of them.
        has_own_ids: False for a region array whose ids are made of its name and of places.
    """

    kind: GalleryKind
    listing: Listing
    open_encoding: OpenEncoding
    index_kind: IndexKind
    root: Path | None = None
    served: Gallery | None = None
    input_count: int | None = None
    has_own_ids: bool = True


def image_plan(
    encoder: DualEncoder,
    source: ImageSource | RegionSource,
    listing: Listing,
    index_kind: IndexKind,
    served: Gallery | None,
    *,
    batch_size: int,
    max_pixels: int,
    worker_count: int,
    input_count: int | None = None,
) -> GalleryPlan:
    """Return the plan of a gallery of pictures or regions."""

    def open_encoding(folder: Path, known: KnownContents | None) -> Encoding:
        if isinstance(source, RegionSource):
            return RegionEncoding(encoder, source.regions, batch_size=batch_size, known=known)
        return PictureEncoding(
            encoder,
            source,
            folder=folder,
            batch_size=batch_size,
            max_pixels=max_pixels,
            worker_count=worker_count,
            known=known,
        )

    has_own_ids = not isinstance(source, RegionSource) or source.has_own_ids
    return GalleryPlan(
        "images",
        listing,
        open_encoding,
        index_kind,
        source.root,
        served,
        input_count,
        has_own_ids,
    )


def caption_plan(
    encoder: DualEncoder,
    listing: Listing,
    index_kind: IndexKind,
    served: Gallery | None,
    *,
    batch_size: int,
    input_count: int | None = None,
) -> GalleryPlan:
    """Return the plan of a gallery of captions."""

    def open_encoding(_: Path, known: KnownContents | None) -> Encoding:
        return CaptionEncoding(encoder, batch_size=batch_size, known=known)

    return GalleryPlan(
        "captions", listing, open_encoding, index_kind, served=served, input_count=input_count
    )
