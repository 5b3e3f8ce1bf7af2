"""Add to an index what a source names and it lacks, or has otherwise; everything else stays.

Pictures whose files did not change since they were indexed are not read; contents that the index
knows are not decoded or encoded again.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from index_builder.encoding.parts import PART_SIZE
from index_builder.encoding.plans import GalleryPlan, caption_plan, image_plan
from index_builder.encoding.work import remove_finished_work, tell_unfinished_work
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind, IndexKind
from index_builder.index_folder.publishing import publish_galleries
from index_builder.index_folder.versions import IndexFolder, OpenIndex
from index_builder.listing.freshness import fresh_listing
from index_builder.listing.gone_files import NOTHING_GONE, gone_files
from index_builder.listing.inputs import Inputs, Listings
from index_builder.listing.listed_source import Listing
from index_builder.listing.rejections import RejectionLimit
from index_builder.listing.unmatched_captions import UnmatchedCaptions, unmatched_captions
from index_builder.sources.images_root import way_to_both
from index_builder.sources.stamps import stamp_of
from index_builder.vector_index import IndexRequest
from index_builder.writing.addition import ChangeCount
from index_builder.writing.changes import ChangeReport, GalleryChange, gallery_change
from index_builder.writing.writer import GalleryWriter, WrittenGallery
from model.console import say
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import DataError
from model.inputs.pictures import MAX_PIXELS

__all__ = ["add_items"]

_LOOKED_FOR = 100


def add_items(
    path: Path,
    *,
    images: Path | None = None,
    captions: Path | None = None,
    images_root: Path | None = None,
    device: str = "cpu",
    batch_size: int = 64,
    part_size: int = PART_SIZE,
    worker_count: int = 0,
    max_rejected: RejectionLimit | None = None,
) -> ChangeReport:
    """Add new and changed items of the given sources to an index and serve the result.

    Galleries keep their kind of vector index, their limit of pixels, their encoder and its
    precision.

    Args:
        path: The index folder.
        images: Folder tree, table, tar shards, or a region array.
        captions: `.txt`, table or tar shards.
        images_root: What the pictures' paths are relative to; default: as in the index.
        device: Of the encoder.
        batch_size: How many items go through the encoder at once.
        part_size: Entries of a part, which is what a kill costs at most.
        worker_count: Processes that read pictures, spawned; 0 = this one.
        max_rejected: More than this set aside in one gallery is a failure.

    Raises:
        ConfigError: Neither source is given, or a root of pictures for a region array.
        DataError: A source cannot be used, or too much in it cannot.
        GalleryIndexError: There is no index, or it cannot be used.
    """
    folder = IndexFolder(path)
    folder.record()  # an index that is not there must not be made
    with folder.writing() as index, ExitStack() as opened:
        served = index.open(images_root=images_root)
        opened.callback(served.close)
        served_root = served.record.images_root
        root = images_root or (Path(served_root) if served_root else None)
        if images_root is not None and served.images is not None:
            _check_root(served.images, images_root, served_root, images)
        is_array = images is not None and images.suffix == ".npy"
        inputs = Inputs(images, captions, images_root if is_array else root)
        remove_finished_work(index.galleries, served.record.gallery_names)
        say(f"adding to   {path} version {served.version}")
        # Mistakes in the sources are told before the model is loaded.
        listings = opened.enter_context(inputs.listed(index.galleries))
        encoders = _encoders(served, device)
        say(f"  checkpoint  {encoders['images'].name}, {encoders['images'].fingerprint[:16]}")
        precisions = sorted({encoder.precision for encoder in encoders.values()})
        say(f"  device      {device}, {' and '.join(precisions)}")
        adding = _Adding(
            served,
            encoders,
            {
                kind: GalleryWriter(
                    index.galleries,
                    encoder,
                    batch_size=batch_size,
                    part_size=part_size,
                    max_pixels=_max_pixels(served.gallery(kind)),
                    max_rejected=max_rejected,
                    index=IndexRequest(),
                )
                for kind, encoder in encoders.items()
            },
            inputs,
            listings,
            batch_size,
            worker_count,
            opened,
        )
        image_gallery, image_count = adding.images()
        now_images = image_gallery.gallery if image_gallery else served.images
        caption_gallery, caption_count = adding.captions(now_images)
        now_captions = caption_gallery.gallery if caption_gallery else served.captions
        version = publish_galleries(
            index,
            checkpoint=served.record.checkpoint,
            images=now_images,
            captions=now_captions,
            images_root=inputs.root or root,
        )
        gone = NOTHING_GONE
        if inputs.images is not None and listings.images is not None and now_images is not None:
            gone = gone_files(inputs.images, listings.images, now_images)
        report = ChangeReport(
            version=version,
            is_new_version=version != served.version,
            images=_told(image_gallery, image_count),
            captions=_told(caption_gallery, caption_count),
            unmatched_captions=_unmatched(listings.captions, served.captions, now_images),
            gone_file_count=gone.count,
            gone_files=gone.shown,
            passed_over=inputs.passed_over,
        )
        for written in (image_gallery, caption_gallery):
            if written is not None:
                written.finish()
        tell_unfinished_work(index.galleries)
        return report


class _Adding:
    """The two galleries of one addition.

    Args:
        served: What they are added to.
        encoders: Of its checkpoint, one for each kind.
        writers: Into its folder, with those encoders.
        inputs: The sources.
        listings: Of the sources.
        batch_size: How many items go through the encoder at once.
        worker_count: Processes that read pictures.
        opened: Closes what is opened.
    """

    def __init__(
        self,
        served: OpenIndex,
        encoders: dict[GalleryKind, DualEncoder],
        writers: dict[GalleryKind, GalleryWriter],
        inputs: Inputs,
        listings: Listings,
        batch_size: int,
        worker_count: int,
        opened: ExitStack,
    ) -> None:
        self._served = served
        self._encoders = encoders
        self._writers = writers
        self._inputs = inputs
        self._listings = listings
        self._batch_size = batch_size
        self._worker_count = worker_count
        self._opened = opened

    def images(self) -> tuple[WrittenGallery | None, ChangeCount]:
        """Return the images gallery with the additions; None where none are given."""
        source, listing, before = self._inputs.images, self._listings.images, self._served.images
        if source is None or listing is None:
            return None, ChangeCount()
        input_count = listing.count
        if before is not None and source.root is not None:
            listing = self._fresh(listing, before, images_root=source.root)
        plan = image_plan(
            self._encoders["images"],
            source,
            listing,
            self._index_kind("images", listing, before),
            before,
            batch_size=self._batch_size,
            max_pixels=_max_pixels(before),
            worker_count=self._worker_count,
            input_count=input_count,
        )
        return self._written(plan, before, self._served.captions, None)

    def captions(self, images: Gallery | None) -> tuple[WrittenGallery | None, ChangeCount]:
        """Return the captions gallery with the additions; None where none are given.

        Args:
            images: Of the same version: their vectors tune, their ids are looked up by path.
        """
        listing, before = self._listings.captions, self._served.captions
        if listing is None:
            return None, ChangeCount()
        input_count = listing.count
        if before is not None:
            listing = self._fresh(listing, before, images=images)
        plan = caption_plan(
            self._encoders["captions"],
            listing,
            self._index_kind("captions", listing, before),
            before,
            batch_size=self._batch_size,
            input_count=input_count,
        )
        return self._written(plan, before, images, images)

    def _fresh(
        self,
        whole: Listing,
        before: Gallery,
        *,
        images_root: Path | None = None,
        images: Gallery | None = None,
    ) -> Listing:
        """Return those entries of a listing that the gallery may lack, or have otherwise."""
        place = self._listings.folder / f"fresh-{before.kind}.sqlite"
        fresh = fresh_listing(place, whole, before, images_root=images_root, images=images)
        self._opened.callback(fresh.close)
        say(f"{before.kind}: {fresh.count:,} of {whole.count:,} may be new or changed")
        return fresh

    def _index_kind(self, kind: GalleryKind, listing: Listing, before: Gallery | None) -> IndexKind:
        """Return the kind of vector index that the gallery has, or that suits a new one."""
        if before is not None:
            return before.manifest.index.kind
        return IndexRequest().kind_for(listing.count, self._encoders[kind].dim)

    def _written(
        self,
        plan: GalleryPlan,
        before: Gallery | None,
        other: Gallery | None,
        images: Gallery | None,
    ) -> tuple[WrittenGallery, ChangeCount]:
        writer = self._writers[plan.kind]
        prepared = writer.prepare(plan, is_addition=before is not None)
        self._opened.callback(prepared.contents.close)
        if before is not None:
            return writer.add(prepared, before, other=other, images=images)
        written = writer.finish(prepared, other=other, images=images)
        return written, ChangeCount(added=written.gallery.count)


def _encoders(served: OpenIndex, device: str) -> dict[GalleryKind, DualEncoder]:
    """Return what encodes each kind: in its gallery's precision, a new one in the other's."""
    galleries = [gallery for gallery in (served.images, served.captions) if gallery is not None]
    known = {gallery.kind: gallery.manifest.precision for gallery in galleries}
    kinds: tuple[GalleryKind, ...] = ("images", "captions")
    precisions = {kind: known.get(kind, galleries[0].manifest.precision) for kind in kinds}
    loaded = {
        precision: load_dual_encoder(served.checkpoint_path, device=device, precision=precision)
        for precision in set(precisions.values())
    }
    for encoder in loaded.values():
        served.check_encoder(encoder.fingerprint, served.checkpoint_path)
    return {kind: loaded[precision] for kind, precision in precisions.items()}


def _max_pixels(before: Gallery | None) -> int:
    """Return the limit that a gallery was built with: another would be another preprocessing."""
    preprocessing = before.manifest.preprocessing if before is not None else {}
    return int(preprocessing.get("max_pixels", MAX_PIXELS))


def _check_root(
    images: Gallery, images_root: Path, served_root: str | None, added: Path | None
) -> None:
    """Refuse a root that the pictures of an index did not move to; `added` are the new ones."""
    drawn = np.random.default_rng(0).permutation(images.rows())[:_LOOKED_FOR].tolist()
    items = images.items(list(images.ids_of_rows(drawn).values())).values()
    paths = [item.path for item in items if item.path is not None]
    missing = [path for path in paths if stamp_of(images_root, path)[0] < 0]
    if 2 * len(missing) > len(paths):
        place = (added if added is not None and added.is_dir() else images_root).resolve()
        way_out = ""
        if served_root is not None and not place.is_relative_to(served_root):
            way_out = f" and {way_to_both(place, Path(served_root))}"
        raise DataError(
            f"{len(missing):,} of {len(paths):,} pictures of the index that were looked for are "
            f"not below {images_root}, such as {missing[0]}; --images-root is for pictures that "
            f"moved: for new ones leave it out{way_out}"
        )


def _unmatched(
    listing: Listing | None, before: Gallery | None, images: Gallery | None
) -> UnmatchedCaptions | None:
    if listing is None or images is None:
        return None
    return unmatched_captions(listing, images, before)


def _told(written: WrittenGallery | None, count: ChangeCount) -> GalleryChange | None:
    return None if written is None else gallery_change(written.gallery, count)
