"""An open version of an index: what answers queries."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from index_builder.galleries.damaged import damaged
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind
from index_builder.galleries.relevance import Relevance
from index_builder.index_folder.version_record import VersionRecord
from index_builder.vector_index import Rows
from model.errors import GalleryIndexError
from model.identifiers import sha256_of_file

__all__ = ["FileStamp", "OpenIndex", "gallery_stamps", "open_version"]


class FileStamp(NamedTuple):
    """Which file it is, and whether it was written to since."""

    device: int
    inode: int
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class OpenIndex:
    """An open version of an index: its galleries, checked, and its checkpoint.

    Attributes:
        folder: The index folder.
        record: What `versions/<n>.json` says.
        images: The images gallery, or None.
        captions: The captions gallery, or None.
        stamps: Of the galleries' files, taken before they were opened.
    """

    folder: Path
    record: VersionRecord
    images: Gallery | None
    captions: Gallery | None
    stamps: frozenset[FileStamp]

    @property
    def version(self) -> int:
        """The n of versions/<n>.json."""
        return self.record.version

    @property
    def checkpoint_fingerprint(self) -> str:
        """64 hex digits of the checkpoint that encoded both galleries."""
        return self.record.checkpoint.fingerprint

    @property
    def checkpoint_path(self) -> Path:
        """The copy of that checkpoint inside the index folder."""
        return self.folder / self.record.checkpoint.folder

    def gallery(self, kind: GalleryKind) -> Gallery | None:
        """Return the gallery of that kind, or None if this version has none."""
        return self.images if kind == "images" else self.captions

    def fits(self, kind: GalleryKind, queries: Rows) -> list[bool] | None:
        """Return of queries of a kind whether they are like what this index holds of that kind.

        Args:
            kind: What the queries are.
            queries: (query, dim), float32, unit length.

        Returns:
            None where the index holds too little of that kind to tell.
        """
        gallery = self.gallery(kind)
        if gallery is None or gallery.calibration is None:
            return None
        told: list[bool] = gallery.calibration.fits(queries).tolist()
        return told

    def relevance(self, kind: GalleryKind, target: GalleryKind) -> Relevance | None:
        """Return how likely a hit of a score belongs to its query.

        Args:
            kind: What the queries are.
            target: What the hits are.

        Returns:
            None where too few captions of this index name its pictures, and for hits of the
            queries' own kind, of which nothing says what belongs together.
        """
        quality = self.record.quality
        if quality is None or kind == target:
            return None
        return (quality.text_to_image if kind == "captions" else quality.image_to_text).relevance

    def check_encoder(self, fingerprint: str, place: str | Path) -> None:
        """Refuse an encoder that did not encode this index.

        Raises:
            GalleryIndexError: The fingerprints differ.
        """
        if fingerprint != self.checkpoint_fingerprint:
            raise GalleryIndexError(
                f"checkpoint {place} has fingerprint {fingerprint[:16]} but version "
                f"{self.version} of {self.folder} was built with "
                f"{self.checkpoint_fingerprint[:16]}; use that checkpoint, or build the index "
                f"again with: python -m index_builder build --checkpoint {place}"
            )

    def close(self) -> None:
        """Close both galleries."""
        for gallery in (self.images, self.captions):
            if gallery is not None:
                gallery.close()


def gallery_stamps(folder: Path, record: VersionRecord) -> frozenset[FileStamp]:
    """Return what tells the files of a version's galleries from others that say the same.

    A copy elsewhere, a backup that was put into their place, a file that was written over: each
    has other stamps, though its version's record may be the same to the byte.
    """
    stamps = set()
    for gallery in record.galleries:
        for path in (folder / gallery.folder).glob("*"):
            with contextlib.suppress(OSError):  # whoever opens it tells what is wrong
                status = path.stat()
                stamps.add(
                    FileStamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
                )
    return frozenset(stamps)


def open_version(
    folder: Path, record: VersionRecord, *, images_root: Path | None = None, device: str = "cpu"
) -> OpenIndex:
    """Open what a version names, after checking all of it.

    Args:
        folder: The index folder.
        record: What the version says.
        images_root: Where the pictures lie now, if they moved.
        device: Where vectors are compared: cpu, or a GPU of torch.

    Raises:
        GalleryIndexError: Something is missing or does not match.
    """
    if not record.galleries:
        raise GalleryIndexError(
            f"version {record.version} of {folder} names no gallery; build the index again"
        )
    stamps = gallery_stamps(folder, record)
    root = images_root or (Path(record.images_root) if record.images_root else None)
    images = _open_gallery(folder, record, "images", root, device)
    try:
        captions = _open_gallery(folder, record, "captions", None, device)
    except GalleryIndexError:
        if images is not None:
            images.close()
        raise
    return OpenIndex(folder, record, images, captions, stamps)


def _open_gallery(
    folder: Path, version: VersionRecord, kind: GalleryKind, root: Path | None, device: str
) -> Gallery | None:
    record = version.images if kind == "images" else version.captions
    if record is None:
        return None
    source = f"versions/{version.version}.json"
    gallery = Gallery.open(folder / record.folder, images_root=root, device=device)
    manifest_sha256 = sha256_of_file(gallery.folder / "manifest.json")
    for what, found, expected in (
        ("is a gallery of", gallery.kind, kind),
        (
            "was built with checkpoint",
            gallery.manifest.checkpoint_fingerprint[:16],
            version.checkpoint.fingerprint[:16],
        ),
        ("has a manifest.json with sha256", manifest_sha256[:16], record.manifest_sha256[:16]),
    ):
        if found != expected:
            gallery.close()
            raise damaged(f"{record.folder} {what} {found} but {source} says {expected}")
    return gallery
