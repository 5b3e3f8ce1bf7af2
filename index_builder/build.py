"""Build an index: list the sources, encode both galleries independently, switch to them.

    sources -> listings -> parts -> gallery folders -> version -> `current`

Until the last step whoever reads sees the version that was served before; whatever ends the build
before that, what is encoded is kept, and the same build goes on with it.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from index_builder.encoding.parts import PART_SIZE
from index_builder.encoding.plans import GalleryPlan, caption_plan, image_plan
from index_builder.encoding.work import remove_finished_work, tell_unfinished_work
from index_builder.galleries.gallery import Gallery
from index_builder.index_folder.checkpoints import keep_checkpoint
from index_builder.index_folder.publishing import publish_galleries, served_gallery
from index_builder.index_folder.versions import GalleryRecord, IndexFolder, VersionRecord
from index_builder.listing.inputs import Inputs
from index_builder.listing.rejections import RejectionLimit
from index_builder.listing.unmatched_captions import UnmatchedCaptions, unmatched_captions
from index_builder.vector_index import IndexRequest
from index_builder.writing.left_out import NOTHING_LEFT_OUT, left_out
from index_builder.writing.writer import GalleryWriter, PreparedGallery, WrittenGallery
from model.console import say, warn
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import GalleryIndexError
from model.hub import is_hub_name, local_folder
from model.inputs.pictures import MAX_PIXELS
from model.precision import Precision, is_quick

__all__ = ["BuildReport", "build_index"]


@dataclass(frozen=True)
class BuildReport:
    """What is served after a build.

    Attributes:
        version: The served version.
        version_before: What was served before, maybe the same; None where nothing was.
        is_new_version: False where everything was there and served already.
        checkpoint_fingerprint: Of the checkpoint that encoded the galleries.
        images: The served gallery of images, or None.
        captions: The served gallery of captions, or None.
        unmatched_captions: Captions of the source that name no picture of the index, or None.
        passed_over: Files of a folder of pictures that are none, counted by their endings.
    """

    version: int
    version_before: int | None
    is_new_version: bool
    checkpoint_fingerprint: str
    images: "GalleryReport | None"
    captions: "GalleryReport | None"
    unmatched_captions: UnmatchedCaptions | None
    passed_over: dict[str, int]

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
        left_out_count: Items of the version before that the source does not name any more.
        left_out_columns: Metadata columns that the version before had and this one has not.
    """

    folder: str
    count: int
    rejected_count: int
    is_reused: bool
    left_out_count: int
    left_out_columns: tuple[str, ...]


def build_index(
    *,
    checkpoint: str | Path,
    output: Path,
    images: Path | None = None,
    captions: Path | None = None,
    images_root: Path | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
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
        precision: What the encoder multiplies in; queries are encoded in float32 all the same.
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
    inputs = Inputs(images, captions, images_root)
    request = index_request or IndexRequest()
    if not is_hub_name(checkpoint):
        local_folder(checkpoint)  # one that is not there is told before the sources are read
    say(f"building index  → {output}")
    with IndexFolder(output).writing() as index, ExitStack() as opened:
        index.never_served()  # a folder that could not be published into is told at once
        # Mistakes in the sources are told before a model is fetched and loaded.
        listings = opened.enter_context(inputs.listed(index.galleries))
        encoder = load_dual_encoder(checkpoint, device=device, precision=precision)
        say(f"  checkpoint  {checkpoint} ({encoder.name}, {encoder.fingerprint[:16]})")
        say(f"  device      {device}, {precision}")
        if not is_quick(precision, device):
            warn(f"{device} has no instructions for {precision}: float32 is quicker here")
        served = index.served_record()
        remove_finished_work(index.galleries, served.gallery_names if served else ())
        _check_left_out(index, served, encoder, inputs)
        kept = keep_checkpoint(index, checkpoint, encoder)
        writer = GalleryWriter(
            index.galleries,
            encoder,
            batch_size=batch_size,
            part_size=part_size,
            max_pixels=max_pixels,
            max_rejected=max_rejected,
            index=request,
        )
        plan_of_images = plan_of_captions = None
        if inputs.images is not None and listings.images is not None:
            plan_of_images = image_plan(
                encoder,
                inputs.images,
                listings.images,
                request.kind_for(listings.images.count, encoder.dim),
                served_gallery(index, served.images if served else None, opened),
                batch_size=batch_size,
                max_pixels=max_pixels,
                worker_count=worker_count,
            )
        if listings.captions is not None:
            plan_of_captions = caption_plan(
                encoder,
                listings.captions,
                request.kind_for(listings.captions.count, encoder.dim),
                served_gallery(index, served.captions if served else None, opened),
                batch_size=batch_size,
            )
        image_gallery, caption_gallery = _write_galleries(
            index, writer, plan_of_images, plan_of_captions, served, opened
        )
        kept.check_unchanged()
        kept_root = Path(served.images_root) if served and served.images_root else None
        version = publish_galleries(
            index,
            checkpoint=kept.record,
            images=image_gallery.gallery if image_gallery else None,
            captions=caption_gallery.gallery if caption_gallery else None,
            images_root=inputs.root if inputs.images else kept_root,
        )
        report = BuildReport(
            version=version,
            version_before=served.version if served else None,
            is_new_version=served is None or version != served.version,
            checkpoint_fingerprint=encoder.fingerprint,
            images=_report(image_gallery, plan_of_images),
            captions=_report(caption_gallery, plan_of_captions),
            unmatched_captions=(
                unmatched_captions(listings.captions, image_gallery.gallery)
                if listings.captions is not None and image_gallery is not None
                else None
            ),
            passed_over=inputs.passed_over,
        )
        for written in (image_gallery, caption_gallery):
            if written is not None:
                written.finish()
        tell_unfinished_work(index.galleries)
        return report


def _write_galleries(
    index: IndexFolder,
    writer: GalleryWriter,
    plan_of_images: GalleryPlan | None,
    plan_of_captions: GalleryPlan | None,
    served: VersionRecord | None,
    opened: ExitStack,
) -> tuple[WrittenGallery | None, WrittenGallery | None]:
    """Return both galleries of the new version: written, or kept where there is no plan.

    All is encoded before anything is put together: each kind's vectors are the queries that the
    vector index of the other is tuned with.
    """

    def prepared(plan: GalleryPlan | None) -> PreparedGallery | None:
        if plan is None:
            return None
        made = writer.prepare(plan)
        opened.callback(made.contents.close)
        return made

    prepared_images, prepared_captions = prepared(plan_of_images), prepared(plan_of_captions)
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
    inputs: Inputs,
) -> None:
    """Refuse to pair a new gallery with a served one of another checkpoint."""
    if served is None or served.checkpoint.fingerprint == encoder.fingerprint:
        return
    for kind, source, record in (
        ("images", inputs.images, served.images),
        ("captions", inputs.captions, served.captions),
    ):
        if source is None and record is not None:
            raise GalleryIndexError(
                f"the {kind} of {index.path} are of checkpoint "
                f"{served.checkpoint.fingerprint[:16]} but this build uses "
                f"{encoder.fingerprint[:16]}; give --{kind} as well, or another --output"
            )


def _kept_gallery(index: IndexFolder, record: GalleryRecord | None) -> WrittenGallery | None:
    if record is None:
        return None
    return WrittenGallery(Gallery.open(index.path / record.folder), is_reused=True)


def _report(written: WrittenGallery | None, plan: GalleryPlan | None) -> GalleryReport | None:
    """Return what became of a gallery; without a plan it is the one before."""
    if written is None:
        return None
    manifest = written.gallery.manifest
    lost = NOTHING_LEFT_OUT if plan is None else left_out(plan.served, written.gallery)
    return GalleryReport(
        folder=manifest.gallery,
        count=manifest.count,
        rejected_count=manifest.rejected_count,
        is_reused=written.is_reused,
        left_out_count=lost.count,
        left_out_columns=lost.columns,
    )
