"""Build an index: list the sources, encode both galleries independently, switch to them.

    sources -> listings -> parts -> gallery folders -> version -> `current`

Until the last step whoever reads sees the version that was served before; whatever ends the build
before that, what is encoded is kept, and the same build goes on with it.
"""

import functools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.checkpoints import keep_checkpoint
from index_builder.encoding import CaptionEncoding, Encoding, PictureEncoding
from index_builder.gallery import Gallery
from index_builder.known import KnownContents
from index_builder.listing import Listing
from index_builder.parts import PART_SIZE
from index_builder.region_encoding import RegionEncoding, RegionSource
from index_builder.rejections import RejectionLimit, write_rejected
from index_builder.retrieval_quality import RetrievalQuality, measure_retrieval
from index_builder.sources import (
    CaptionSource,
    ImageSource,
    open_caption_source,
    open_image_source,
)
from index_builder.vector_index import IndexRequest
from index_builder.versions import GalleryRecord, IndexFolder, VersionRecord
from index_builder.work import foreign_work
from index_builder.writer import (
    GalleryPlan,
    GalleryWriter,
    OpenEncoding,
    WrittenGallery,
)
from model.console import say, warn
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import ConfigError, GalleryIndexError
from model.identifiers import sha256_of_file
from model.inputs.pictures import MAX_PIXELS

__all__ = ["BuildReport", "build_index"]


@dataclass(frozen=True)
class BuildReport:
    """What is served after a build.

    Attributes:
        version: The served version.
        is_new_version: False where everything was there and served already.
        checkpoint_fingerprint: Of the checkpoint that encoded the galleries.
        images: The served gallery of images, or None.
        captions: The served gallery of captions, or None.
    """

    version: int
    is_new_version: bool
    checkpoint_fingerprint: str
    images: "GalleryReport | None"
    captions: "GalleryReport | None"

    @property
    def rejected_count(self) -> int:
        """Inputs set aside, of both galleries."""
        return sum(part.rejected_count for part in (self.images, self.captions) if part)


@dataclass(frozen=True)
class GalleryReport:
    """What became of one gallery.

    Attributes:
        folder: Name of its folder.
        count: Items in it.
        rejected_count: Inputs set aside when it was built.
        is_reused: It was there already; nothing was encoded.
    """

    folder: str
    count: int
    rejected_count: int
    is_reused: bool


def build_index(
    *,
    checkpoint: str | Path,
    output: Path,
    images: Path | None = None,
    captions: Path | None = None,
    images_root: Path | None = None,
    device: str = "cpu",
    batch_size: int = 64,
    part_size: int = PART_SIZE,
    worker_count: int = 0,
    max_pixels: int = MAX_PIXELS,
    max_rejected: RejectionLimit | None = None,
    index_request: IndexRequest | None = None,
) -> BuildReport:
    """Build the galleries of the given sources with one checkpoint and serve them.

    A source that is left out keeps the gallery that is served, if the checkpoint is the same.

    Args:
        checkpoint: Folder or hub name.
        output: The index folder; made if it is not there.
        images: Folder tree, table, tar shards, or a region array `{split}_ims.npy`.
        captions: `.txt`, table or tar shards.
        images_root: What the pictures' paths are relative to.
        device: Of the encoder.
        batch_size: How many items go through the encoder at once; never changes what is found.
        part_size: Entries of a part, which is what a kill costs at most.
        worker_count: Processes that read pictures, spawned; 0 = this one. Spawning wants a main
            module that does nothing when it is imported.
        max_pixels: A larger picture is set aside.
        max_rejected: More than this set aside in one gallery is a failure.
        index_request: What is asked of the vector indexes; default: a kind that fits.

    Raises:
        ConfigError: Neither source is given, a root of pictures for a region array, or a vector
            index that cannot be built.
        CheckpointError: The checkpoint cannot be used, or not for such images.
        DataError: A source cannot be used, or nothing in it can, or too much cannot.
        GalleryIndexError: The index folder cannot be used.
    """
    if images is None and captions is None:
        raise ConfigError(["images, captions: give at least one of them"])
    image_source = None if images is None else _open_images(images, images_root)
    caption_source = None if captions is None else open_caption_source(captions, images_root)
    request = index_request or IndexRequest()
    encoder = load_dual_encoder(checkpoint, device=device)
    say(f"building index  → {output}")
    say(f"  checkpoint  {checkpoint} ({encoder.name}, {encoder.fingerprint[:16]})")
    say(f"  device      {device}, float32")
    with IndexFolder(output).writing() as index, ExitStack() as opened:
        served = index.served_record()
        _check_left_out(
            index,
            served,
            encoder,
            has_images=image_source is not None,
            has_captions=caption_source is not None,
        )
        listings = opened.enter_context(_temporary_folder(index.galleries))
        image_listing = _listed(listings / "images.sqlite", image_source, opened)
        say(f"  images      {_told(image_source, image_listing)}")
        caption_listing = _listed(listings / "captions.sqlite", caption_source, opened)
        say(f"  captions    {_told(caption_source, caption_listing)}")
        kept = keep_checkpoint(index, checkpoint, encoder)
        writer = GalleryWriter(
            index.galleries,
            encoder,
            _preprocessing(encoder),
            batch_size=batch_size,
            part_size=part_size,
            max_pixels=max_pixels,
            max_rejected=max_rejected,
            index=request,
        )
        image_plan = caption_plan = None
        if image_source is not None and image_listing is not None:
            image_plan = GalleryPlan(
                "images",
                image_listing,
                _image_encoding(encoder, image_source, batch_size, max_pixels, worker_count),
                request.kind_for(image_listing.count, encoder.dim),
                root=image_source.root,
                served=_served_gallery(index, served.images if served else None, opened),
            )
        if caption_listing is not None:
            caption_plan = GalleryPlan(
                "captions",
                caption_listing,
                functools.partial(_caption_encoding, encoder, batch_size),
                request.kind_for(caption_listing.count, encoder.dim),
                served=_served_gallery(index, served.captions if served else None, opened),
            )
        image_gallery, caption_gallery = _write_galleries(
            index, writer, image_plan, caption_plan, served, opened
        )
        written = [gallery for gallery in (image_gallery, caption_gallery) if gallery is not None]
        kept.check_unchanged()
        kept_root = Path(served.images_root) if served and served.images_root else None
        version = index.publish(
            checkpoint=kept.record,
            images=_record(image_gallery),
            captions=_record(caption_gallery),
            images_root=image_source.root if image_source else kept_root,
            quality=_quality(served, image_gallery, caption_gallery),
        )
        write_rejected(
            index.path / "rejected.jsonl",
            ((one.gallery.kind, one.gallery.rejected()) for one in written),
        )
        for gallery in written:
            if gallery.work is not None:
                gallery.work.remove()
            gallery.gallery.close()
        _tell_foreign_work(index)
        return BuildReport(
            version=version,
            is_new_version=served is None or version != served.version,
            checkpoint_fingerprint=encoder.fingerprint,
            images=_report(image_gallery),
            captions=_report(caption_gallery),
        )


def _open_images(source: Path, images_root: Path | None) -> ImageSource | RegionSource:
    """Return the images of a source, pictures or a region array."""
    if source.suffix != ".npy":
        return open_image_source(source, images_root)
    if images_root is not None:
        raise ConfigError(["images_root: a region array has no pictures; leave it out"])
    return RegionSource(source)


@contextmanager
def _temporary_folder(galleries: Path) -> Iterator[Path]:
    """Make a folder for listings, which every build makes anew."""
    folder = Path(tempfile.mkdtemp(prefix=".listing-", dir=galleries))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listed(
    path: Path, source: ImageSource | RegionSource | CaptionSource | None, opened: ExitStack
) -> Listing | None:
    if source is None:
        return None
    listing = Listing.write(path, source.entries(), source.description)
    opened.callback(listing.close)
    return listing


def _told(
    source: ImageSource | RegionSource | CaptionSource | None, listing: Listing | None
) -> str:
    if source is None or listing is None:
        return "left out"
    return f"{listing.count:,} from {source.description}"


def _image_encoding(
    encoder: DualEncoder,
    source: ImageSource | RegionSource,
    batch_size: int,
    max_pixels: int,
    worker_count: int,
) -> OpenEncoding:
    """Return what makes the encoding of pictures or regions, once the work folder is known."""

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

    return open_encoding


def _caption_encoding(
    encoder: DualEncoder, batch_size: int, _: Path, known: KnownContents | None
) -> Encoding:
    return CaptionEncoding(encoder, batch_size=batch_size, known=known)


def _write_galleries(
    index: IndexFolder,
    writer: GalleryWriter,
    image_plan: GalleryPlan | None,
    caption_plan: GalleryPlan | None,
    served: VersionRecord | None,
    opened: ExitStack,
) -> tuple[WrittenGallery | None, WrittenGallery | None]:
    """Return both galleries of the new version: written, or kept where there is no plan.

    All is encoded before anything is put together: each kind's vectors are the queries that the
    vector index of the other is tuned with.
    """
    prepared = []
    for plan in (image_plan, caption_plan):
        prepared.append(None if plan is None else writer.prepare(plan))
        if prepared[-1] is not None:
            opened.callback(prepared[-1].contents.close)
    prepared_images, prepared_captions = prepared
    images = captions = None
    if served is not None and prepared_images is None:
        images = _kept_gallery(index, served.images)
    if served is not None and prepared_captions is None:
        captions = _kept_gallery(index, served.captions)
    if prepared_images is not None:
        kept_captions = captions.gallery if captions else None
        images = writer.finish(prepared_images, other=prepared_captions or kept_captions)
    if prepared_captions is not None:
        lookup = images.gallery if images else None
        captions = writer.finish(prepared_captions, other=lookup, images=lookup)
    return images, captions


def _check_left_out(
    index: IndexFolder,
    served: VersionRecord | None,
    encoder: DualEncoder,
    *,
    has_images: bool,
    has_captions: bool,
) -> None:
    """Refuse to pair a new gallery with a served one of another checkpoint."""
    if served is None or served.checkpoint.fingerprint == encoder.fingerprint:
        return
    for kind, is_given, record in (
        ("images", has_images, served.images),
        ("captions", has_captions, served.captions),
    ):
        if not is_given and record is not None:
            raise GalleryIndexError(
                f"the {kind} of {index.path} are of checkpoint "
                f"{served.checkpoint.fingerprint[:16]} but this build uses "
                f"{encoder.fingerprint[:16]}; give --{kind} as well, or another --output"
            )


def _preprocessing(encoder: DualEncoder) -> dict[str, Any]:
    """Return how the encoder makes pixels of pictures; nothing for region features."""
    transform = encoder.picture_transform
    return {} if transform is None else transform.config.model_dump(mode="json")


def _served_gallery(
    index: IndexFolder, record: GalleryRecord | None, opened: ExitStack
) -> Gallery | None:
    """Return what is served now, to use its contents again; None where that cannot be trusted."""
    if record is None:
        return None
    try:
        gallery = Gallery.open(index.path / record.folder)
    except GalleryIndexError:
        return None
    opened.callback(gallery.close)
    return gallery


def _kept_gallery(index: IndexFolder, record: GalleryRecord | None) -> WrittenGallery | None:
    if record is None:
        return None
    return WrittenGallery(Gallery.open(index.path / record.folder), is_reused=True)


def _quality(
    served: VersionRecord | None, images: WrittenGallery | None, captions: WrittenGallery | None
) -> RetrievalQuality | None:
    """Return how well captions find their pictures and the reverse; None where they name none."""
    if images is None or captions is None:
        return None
    pair = (_record(images), _record(captions))
    if served is not None and served.quality and (served.images, served.captions) == pair:
        return served.quality
    return measure_retrieval(images.gallery, captions.gallery)


def _record(written: WrittenGallery | None) -> GalleryRecord | None:
    if written is None:
        return None
    folder = written.gallery.folder
    return GalleryRecord(
        folder=f"galleries/{folder.name}",
        manifest_sha256=sha256_of_file(folder / "manifest.json"),
    )


def _report(written: WrittenGallery | None) -> GalleryReport | None:
    if written is None:
        return None
    manifest = written.gallery.manifest
    return GalleryReport(
        folder=manifest.gallery,
        count=manifest.count,
        rejected_count=manifest.rejected_count,
        is_reused=written.is_reused,
    )


def _tell_foreign_work(index: IndexFolder) -> None:
    """Tell of work that another build began; the space is its owner's to free."""
    for folder in foreign_work(index.galleries):
        warn(
            f"{folder} holds the work of a build that was never finished; run that build again "
            "to go on with it, or delete the folder"
        )
