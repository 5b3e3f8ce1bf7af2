"""The last step of every change: galleries become the served version."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from index_builder.galleries.gallery import Gallery
from index_builder.index_folder.quality_records import RetrievalQuality
from index_builder.index_folder.retrieval_quality import measure_retrieval
from index_builder.index_folder.versions import (
    CheckpointRecord,
    GalleryRecord,
    IndexFolder,
    VersionRecord,
)
from index_builder.listing.rejections import REJECTED_FILE, write_rejected
from model.errors import GalleryIndexError
from model.identifiers import sha256_of_file

__all__ = ["publish_galleries", "served_gallery"]


def publish_galleries(
    index: IndexFolder,
    *,
    checkpoint: CheckpointRecord,
    images: Gallery | None,
    captions: Gallery | None,
    images_root: Path | None,
) -> int:
    """Serve these galleries from now on and return the version; call while `writing`."""
    served = index.served_record()
    records = _record(images), _record(captions)
    version = index.publish(
        checkpoint=checkpoint,
        images=records[0],
        captions=records[1],
        images_root=images_root,
        quality=_quality(served, records, images, captions),
    )
    galleries: Iterable[Gallery] = filter(None, (images, captions))
    write_rejected(
        index.path / REJECTED_FILE,
        ((gallery.kind, gallery.rejected()) for gallery in galleries),
    )
    return version


def served_gallery(
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


def _quality(
    served: VersionRecord | None,
    records: tuple[GalleryRecord | None, GalleryRecord | None],
    images: Gallery | None,
    captions: Gallery | None,
) -> RetrievalQuality | None:
    """Return how well captions find their pictures and the reverse; None where they name none."""
    if images is None or captions is None:
        return None
    if served is not None and served.quality and (served.images, served.captions) == records:
        return served.quality
    return measure_retrieval(images, captions)


def _record(gallery: Gallery | None) -> GalleryRecord | None:
    if gallery is None:
        return None
    return GalleryRecord(
        folder=f"galleries/{gallery.folder.name}",
        manifest_sha256=sha256_of_file(gallery.folder / "manifest.json"),
    )
