"""A listed source becomes a gallery folder, or the folder that is there already is found again."""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.assembly import Assembly
from index_builder.contents import Contents
from index_builder.draft import EncoderRecord
from index_builder.encoding import Encoding
from index_builder.gallery import Gallery
from index_builder.items import Rejection
from index_builder.known import KnownContents, KnownGallery
from index_builder.listing import Listing
from index_builder.manifest import GalleryKind
from index_builder.part_making import PartMaker, rejections_of
from index_builder.rejections import RejectionCount, RejectionLimit
from index_builder.stamps import SourceWatch
from index_builder.thumbnails import JPEG_QUALITY, LONGEST_SIDE
from index_builder.work import Request, WorkFolder
from model.console import say, warn
from model.dual_encoder import DualEncoder
from model.errors import DataError, GalleryIndexError

__all__ = ["GalleryPlan", "GalleryWriter", "OpenEncoding", "WrittenGallery"]

# Part of every gallery's name: raise it when the same inputs would give other files.
_FORMAT = 2

OpenEncoding = Callable[[Path, KnownContents | None], Encoding]


@dataclass(frozen=True)
class GalleryPlan:
    """What a gallery is to be made of.

    Attributes:
        kind: Images or captions.
        listing: What the source named.
        open_encoding: Makes of the work folder and of what is known the way to vectors.
        root: Of pictures; None where there are none.
        served: The gallery of this kind that is served now.
        images: Where the id of a picture that a caption names by its path is looked up.
    """

    kind: GalleryKind
    listing: Listing
    open_encoding: OpenEncoding
    root: Path | None = None
    served: Gallery | None = None
    images: Gallery | None = None


@dataclass(frozen=True)
class WrittenGallery:
    """A complete gallery, opened and so checked.

    Attributes:
        gallery: The gallery.
        is_reused: It was there before.
        work: What led to it, to be removed when the version is served; None if nothing did.
    """

    gallery: Gallery
    is_reused: bool
    work: WorkFolder | None = None


class GalleryWriter:
    """Writes galleries of one encoder into one index folder.

    Args:
        galleries: The folder for them.
        encoder: The network.
        preprocessing: How it makes pixels of pictures; for the manifest.
        batch_size: How many items go through the encoder at once.
        part_size: Entries of a part.
        max_pixels: A larger picture is set aside.
        max_rejected: How much may be set aside; None = anything but all.
    """

    def __init__(
        self,
        galleries: Path,
        encoder: DualEncoder,
        preprocessing: dict[str, Any],
        *,
        batch_size: int,
        part_size: int,
        max_pixels: int,
        max_rejected: RejectionLimit | None,
    ) -> None:
        self._galleries = galleries
        self._batch_size = batch_size
        self._part_size = part_size
        self._max_pixels = max_pixels
        self._max_rejected = max_rejected
        self._record = EncoderRecord(
            name=encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            preprocessing=preprocessing | {"max_pixels": max_pixels},
        )

    def write(self, plan: GalleryPlan) -> WrittenGallery:
        """Return the gallery of a plan, going on with what a build before it began.

        Raises:
            DataError: Nothing can be used, too much cannot, or the source went away.
            GalleryIndexError: The encoder or a process of the build failed.
        """
        base = self._base(plan)
        work = WorkFolder.open(self._galleries, self._request(plan))
        parts = PartMaker(
            work,
            plan.listing,
            plan.open_encoding(work.path, base.contents if base else None),
            encoder_name=self._record.name,
            dim=self._record.dim,
            base=base,
            watch=SourceWatch(plan.root),
        )
        contents = parts.make(self._rejection_count(plan))
        try:
            if not contents.count:
                sentence = _nothing_usable(plan, parts)
                work.remove()
                raise DataError(sentence)
            gallery, is_reused = self._assembled(plan, work, parts, contents, base)
        finally:
            contents.close()
        return WrittenGallery(gallery, is_reused, work)

    def _assembled(
        self,
        plan: GalleryPlan,
        work: WorkFolder,
        parts: PartMaker,
        contents: Contents,
        base: KnownGallery | None,
    ) -> tuple[Gallery, bool]:
        """Return the gallery of the finished parts, and whether it was there already."""
        assembly = Assembly(plan.kind, plan.listing, parts, contents, base=base, images=plan.images)
        folder = self._galleries / assembly.name(self._made_by())
        found = self._find(folder, plan)
        if found is not None:
            say(f"{plan.kind}: nothing changed, {folder.name} is used again")
            return found, True
        say(f"{plan.kind}: writing {folder.name}")
        assembly.write(work.draft_path(), folder, self._record)
        return Gallery.open(folder, images_root=plan.root), False

    def _base(self, plan: GalleryPlan) -> KnownGallery | None:
        """Return the served gallery if its contents are what this build would make of them."""
        served = plan.served
        if served is None:
            return None
        manifest = served.manifest
        if (manifest.checkpoint_fingerprint, manifest.preprocessing) != (
            self._record.fingerprint,
            self._record.preprocessing,
        ):
            return None
        # Every kind of index must give the float32 vectors of the encoder here; today's one does.
        return KnownGallery(served) if served.knows_contents else None

    def _request(self, plan: GalleryPlan) -> Request:
        return Request(
            format=_FORMAT,
            kind=plan.kind,
            checkpoint_fingerprint=self._record.fingerprint,
            max_pixels=self._max_pixels,
            batch_size=self._batch_size,
            part_size=self._part_size,
            listing_sha256=plan.listing.sha256,
        )

    def _made_by(self) -> list[object]:
        return [_FORMAT, self._record.fingerprint, self._max_pixels, LONGEST_SIDE, JPEG_QUALITY]

    def _rejection_count(self, plan: GalleryPlan) -> RejectionCount:
        first = plan.listing.rejected_count()
        return RejectionCount(plan.kind, plan.listing.count + first, self._max_rejected, first)

    def _find(self, folder: Path, plan: GalleryPlan) -> Gallery | None:
        if plan.served is not None and plan.served.folder.name == folder.name:
            return plan.served
        if not folder.exists():
            return None
        try:
            return Gallery.open(folder)
        except GalleryIndexError as error:
            warn(f"{error}; this build writes it anew")
            folder.rename(tempfile.mkdtemp(prefix=".damaged-", dir=self._galleries))
            return None


def _nothing_usable(plan: GalleryPlan, parts: PartMaker) -> str:
    def rejections() -> Iterator[Rejection]:
        for entries, part in parts.parts():
            yield from rejections_of(part, entries)

    first = next(rejections())
    all_missing = all(rejection.code == "missing" for rejection in rejections())
    hint = "; is --images-root right?" if all_missing else ""
    return (
        f"none of the {plan.listing.count:,} pictures in {plan.root} can be used; "
        f"the first is {first.place}: {first.reason}{hint}"
    )
