"""Build an index: read the sources, encode both galleries independently, switch to them.

    sources -> distinct contents -> vectors -> gallery folder -> version -> `current`

Until the last step whoever reads sees the version that was served before.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from index_builder.checkpoints import keep_checkpoint
from index_builder.gallery import Gallery
from index_builder.regions import RegionList, read_regions
from index_builder.retrieval_quality import RetrievalQuality, measure_retrieval
from index_builder.sources.listing import CaptionList, ImageList, list_captions, list_images
from index_builder.vector_index import IndexRequest
from index_builder.versions import GalleryRecord, IndexFolder, VersionRecord
from index_builder.writer import GalleryWriter, WrittenGallery
from model.console import say
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.durable import write_file
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
    max_pixels: int = MAX_PIXELS,
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
        max_pixels: A larger picture is set aside.
        index_request: What is asked of the vector indexes; default: a kind that fits.

    Raises:
        ConfigError: Neither source is given, a root of pictures for a region array, or a vector
            index that cannot be built.
        CheckpointError: The checkpoint cannot be used, or not for such images.
        DataError: A source cannot be used, or nothing in it can.
        GalleryIndexError: The index folder cannot be used.
    """
    if images is None and captions is None:
        raise ConfigError(["images, captions: give at least one of them"])
    image_list = None if images is None else _read_images(images, images_root)
    caption_list = None if captions is None else list_captions(captions, images_root)
    encoder = load_dual_encoder(checkpoint, device=device)
    say(f"building index  → {output}")
    say(f"  checkpoint  {checkpoint} ({encoder.name}, {encoder.fingerprint[:16]})")
    say(f"  device      {device}, float32")
    say(f"  images      {_told(images, image_list)}")
    say(f"  captions    {_told(captions, caption_list)}")
    with IndexFolder(output).writing() as index:
        served = index.served_record()
        _check_left_out(index, served, encoder, image_list, caption_list)
        kept = keep_checkpoint(index, checkpoint, encoder)
        writer = GalleryWriter(
            index.galleries,
            encoder,
            _preprocessing(encoder),
            batch_size=batch_size,
            max_pixels=max_pixels,
            index=index_request,
        )
        image_gallery: WrittenGallery | None
        if isinstance(image_list, RegionList):
            image_gallery = writer.write_regions(image_list)
        elif image_list is not None:
            image_gallery = writer.write_images(image_list)
        else:
            image_gallery = _kept_gallery(index, served.images if served else None)
        if caption_list is not None:
            lookup = image_gallery.gallery if image_gallery else None
            caption_gallery: WrittenGallery | None = writer.write_captions(caption_list, lookup)
        else:
            caption_gallery = _kept_gallery(index, served.captions if served else None)
        kept_root = Path(served.images_root) if served and served.images_root else None
        version = index.publish(
            checkpoint=kept,
            images=_record(image_gallery),
            captions=_record(caption_gallery),
            images_root=image_list.root if image_list else kept_root,
            quality=_quality(served, image_gallery, caption_gallery),
        )
        written = [gallery for gallery in (image_gallery, caption_gallery) if gallery is not None]
        _write_rejected(index, written)
        for gallery in written:
            gallery.gallery.close()
        return BuildReport(
            version=version,
            is_new_version=served is None or version != served.version,
            checkpoint_fingerprint=encoder.fingerprint,
            images=_report(image_gallery),
            captions=_report(caption_gallery),
        )


def _read_images(source: Path, images_root: Path | None) -> ImageList | RegionList:
    """Return the images of a source, pictures or a region array."""
    if source.suffix != ".npy":
        return list_images(source, images_root)
    if images_root is not None:
        raise ConfigError(["images_root: a region array has no pictures; leave it out"])
    return read_regions(source)


def _told(source: Path | None, found: ImageList | RegionList | CaptionList | None) -> str:
    return "left out" if found is None else f"{len(found.entries):,} from {source}"


def _check_left_out(
    index: IndexFolder,
    served: VersionRecord | None,
    encoder: DualEncoder,
    images: ImageList | RegionList | None,
    captions: CaptionList | None,
) -> None:
    """Refuse to pair a new gallery with a served one of another checkpoint."""
    if served is None or served.checkpoint.fingerprint == encoder.fingerprint:
        return
    for kind, source, record in (
        ("images", images, served.images),
        ("captions", captions, served.captions),
    ):
        if source is None and record is not None:
            raise GalleryIndexError(
                f"the {kind} of {index.path} are of checkpoint "
                f"{served.checkpoint.fingerprint[:16]} but this build uses "
                f"{encoder.fingerprint[:16]}; give --{kind} as well, or another --output"
            )


def _preprocessing(encoder: DualEncoder) -> dict[str, Any]:
    """Return how the encoder makes pixels of pictures; nothing for region features."""
    transform = encoder.picture_transform
    return {} if transform is None else transform.config.model_dump(mode="json")


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


def _write_rejected(index: IndexFolder, galleries: Sequence[WrittenGallery]) -> None:
    lines = []
    for written in galleries:
        for rejection in written.gallery.rejected():
            lines.append(
                {
                    "gallery": written.gallery.kind,
                    "source": rejection.place,
                    "code": rejection.code,
                    "reason": rejection.reason,
                }
            )
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    write_file(index.path / "rejected.jsonl", text.encode())
