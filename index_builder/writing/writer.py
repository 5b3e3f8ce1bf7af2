"""A listed source becomes a gallery folder, or the folder that is there already is found again."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.encoding.contents import Contents
from index_builder.encoding.known_gallery import KnownGallery
from index_builder.encoding.part_making import PartMaker, rejections_of
from index_builder.encoding.plans import GalleryPlan
from index_builder.encoding.work import Request, WorkFolder
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind, IndexKind
from index_builder.galleries.thumbnails import (
    DISPLAY_JPEG_QUALITY,
    DISPLAY_LONGEST_SIDE,
    JPEG_QUALITY,
    LONGEST_SIDE,
)
from index_builder.listing.rejections import RejectionCount, RejectionLimit
from index_builder.sources.entries import Rejection
from index_builder.sources.stamps import SourceWatch
from index_builder.vector_index import IndexRequest, Rows
from index_builder.writing.addition import Addition, ChangeCount
from index_builder.writing.assembly import Assembly
from index_builder.writing.changes import changed_gallery
from index_builder.writing.draft import EncoderRecord
from index_builder.writing.reuse import find_gallery
from index_builder.writing.tuning_queries import VectorSource, tuning_queries
from model.console import say, warn
from model.dual_encoder import DualEncoder
from model.errors import DataError, GalleryIndexError

__all__ = [
    "GalleryWriter",
    "PreparedGallery",
    "WrittenGallery",
]

# Part of every gallery's name: raise it when the same inputs would give other files.
_FORMAT = 6


@dataclass(frozen=True, eq=False)
class PreparedGallery:
    """A gallery whose parts are all made; nothing is left to encode.

    Attributes:
        plan: What it is made of.
        work: Where the parts lie.
        assembly: Puts them together.
        contents: Of all parts; to be closed.
    """

    plan: GalleryPlan
    work: WorkFolder
    assembly: Assembly
    contents: Contents

    @property
    def kind(self) -> GalleryKind:
        """Images or captions."""
        return self.plan.kind

    def sample_vectors(self, wanted_count: int) -> Rows:
        """Return (content, dim), at most so many, the same at every call."""
        return self.assembly.sample_vectors(wanted_count)


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

    def finish(self) -> None:
        """Close it, and take away the work that led to it; call when its version is served."""
        if self.work is not None:
            self.work.remove()
        self.gallery.close()


class GalleryWriter:
    """Writes galleries of one encoder into one index folder.

    Args:
        galleries: The folder for them.
        encoder: The network.
        batch_size: How many items go through the encoder at once.
        part_size: Entries of a part.
        max_pixels: A larger picture is set aside.
        max_rejected: How much may be set aside; None = anything but all.
        index: What is asked of the vector indexes.
    """

    def __init__(
        self,
        galleries: Path,
        encoder: DualEncoder,
        *,
        batch_size: int,
        part_size: int,
        max_pixels: int,
        max_rejected: RejectionLimit | None,
        index: IndexRequest,
    ) -> None:
        self._galleries = galleries
        self._index = index
        self._batch_size = batch_size
        self._part_size = part_size
        self._max_pixels = max_pixels
        self._max_rejected = max_rejected
        self._record = EncoderRecord(
            name=encoder.name,
            fingerprint=encoder.fingerprint,
            dim=encoder.dim,
            preprocessing=_preprocessing(encoder) | {"max_pixels": max_pixels},
            precision=encoder.precision,
        )

    def prepare(self, plan: GalleryPlan, *, is_addition: bool = False) -> PreparedGallery:
        """Make the parts of a plan, going on with what a build before it began.

        Args:
            plan: What the gallery is made of.
            is_addition: It adds to the served gallery, and may come to nothing.

        Raises:
            DataError: Nothing can be used, too much cannot, or the source went away.
            GalleryIndexError: The encoder or a process of the build failed.
        """
        base = self._base(plan, is_addition=is_addition)
        if is_addition and base is None:
            raise GalleryIndexError(
                f"the {plan.kind} of the index were made with other settings of the encoder than "
                "this release uses; build the index again"
            )
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
        if not contents.count and not is_addition:
            sentence = _nothing_usable(plan, parts)
            contents.close()
            work.remove()
            raise DataError(sentence)
        assembly = Assembly(plan.kind, plan.listing, parts, contents, base=base)
        return PreparedGallery(plan, work, assembly, contents)

    def finish(
        self,
        prepared: PreparedGallery,
        *,
        other: VectorSource | None = None,
        images: Gallery | None = None,
    ) -> WrittenGallery:
        """Return the gallery of finished parts, or the one that is there already.

        Args:
            prepared: Its contents are closed.
            other: The other kind of the same version: its vectors tune this one's vector index.
            images: Where the id of a picture that a caption names by its path is looked up.
        """
        plan, assembly = prepared.plan, prepared.assembly
        try:
            folder = self._galleries / assembly.name(self._made_by(plan.index_kind), images)
            is_served = plan.served is not None and plan.served.folder == folder
            found = plan.served if is_served else find_gallery(folder, plan.root)
            if found is not None:
                say(f"{plan.kind}: nothing changed, {folder.name} is used again")
                prepared.work.note_result(folder.name)
                return WrittenGallery(found, is_reused=True, work=prepared.work)
            say(f"{plan.kind}: writing {folder.name}")
            assembly.write(
                prepared.work.draft_path(),
                folder,
                self._record,
                images=images,
                index_kind=plan.index_kind,
                index=self._index,
                queries=tuning_queries(other, plan.index_kind),
            )
        finally:
            prepared.contents.close()
        prepared.work.note_result(folder.name)
        gallery = Gallery.open(folder, images_root=plan.root)
        return WrittenGallery(gallery, is_reused=False, work=prepared.work)

    def add(
        self,
        prepared: PreparedGallery,
        before: Gallery,
        *,
        other: VectorSource | None = None,
        images: Gallery | None = None,
    ) -> tuple[WrittenGallery, ChangeCount]:
        """Return the gallery with finished parts added to it, and what that changed.

        Args:
            prepared: Its contents are closed.
            before: The gallery; it comes back itself where nothing changes.
            other: The other kind: its vectors tune the vector index.
            images: Where the id of a picture that a caption names by its path is looked up.
        """
        plan = prepared.plan
        addition = Addition(prepared.assembly, plan.listing, before, images)
        try:
            count = addition.count()
            if count.changed and not plan.has_own_ids:
                raise DataError(
                    f"{count.changed:,} images of the array have ids that the index has for other "
                    "regions, and ids of an array without an _ids.txt file say only its name and "
                    "the place; give it one, or another name"
                )
            if not count.has_any and not addition.has_other_rejections():
                say(f"{plan.kind}: nothing is new, {before.folder.name} is used again")
                prepared.work.note_result(before.folder.name)
                return WrittenGallery(before, is_reused=True, work=prepared.work), count
            name = addition.name([_FORMAT])
            say(f"{plan.kind}: writing {name}")
            queries = tuning_queries(other, before.manifest.index.kind)
            write = functools.partial(addition.write, queries=queries)
            gallery, count.is_compacted = changed_gallery(
                self._galleries, before, name, write, other=other
            )
            prepared.work.note_result(gallery.folder.name)
        finally:
            prepared.contents.close()
        return WrittenGallery(gallery, is_reused=False, work=prepared.work), count

    def _base(self, plan: GalleryPlan, *, is_addition: bool) -> KnownGallery | None:
        """Return the served gallery if its contents are what this build would make of them."""
        served = plan.served
        if served is None:
            return None
        manifest, record = served.manifest, self._record
        if (manifest.checkpoint_fingerprint, manifest.precision, manifest.preprocessing) != (
            record.fingerprint,
            record.precision,
            record.preprocessing,
        ):
            return None
        # Only the exact kind stores the float32 vectors of the encoder, and only it needs them.
        if plan.index_kind == "exact" and manifest.index.kind != "exact":
            return None
        try:
            # An addition checks what it copies; one that comes to nothing reads nothing.
            for name in () if is_addition else manifest.files:
                served.check_file(name)
        except GalleryIndexError as error:
            warn(f"{error}; nothing of it is used again")
            return None
        return KnownGallery(served)

    def _request(self, plan: GalleryPlan) -> Request:
        return Request(
            format=_FORMAT,
            kind=plan.kind,
            checkpoint_fingerprint=self._record.fingerprint,
            precision=self._record.precision,
            max_pixels=self._max_pixels,
            batch_size=self._batch_size,
            part_size=self._part_size,
            listing_sha256=plan.listing.sha256,
        )

    def _made_by(self, index_kind: IndexKind) -> list[object]:
        made_by: list[object] = [
            _FORMAT, self._record.fingerprint, self._max_pixels, LONGEST_SIDE, JPEG_QUALITY,
            DISPLAY_LONGEST_SIDE, DISPLAY_JPEG_QUALITY,
        ]  # fmt: skip
        if self._record.precision != "float32":
            made_by.append(self._record.precision)
        if index_kind != "exact":
            made_by += [index_kind, self._index.factory, self._index.recall]
        return made_by

    def _rejection_count(self, plan: GalleryPlan) -> RejectionCount:
        first = plan.listing.rejected_count()
        input_count = plan.listing.count if plan.input_count is None else plan.input_count
        return RejectionCount(plan.kind, input_count + first, self._max_rejected, first)


def _preprocessing(encoder: DualEncoder) -> dict[str, Any]:
    """Return how the encoder makes pixels of pictures; nothing for region features."""
    transform = encoder.picture_transform
    return {} if transform is None else transform.config.model_dump(mode="json")


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
