"""The checks of `verify`, in order.

    current, versions                    every record vouches for itself
    other versions                       their files are there, by size alone
    files of both galleries              every byte, against the manifest, against the version
    files and fingerprint of the checkpoint
    what was set aside                   rejected.jsonl against the galleries
    items of each gallery                counts, ids, texts, thumbnails, columns, words
    vectors of each gallery              equal contents, lengths, the other files of vectors
    a sample, encoded again; recall@10, measured again

What is damaged already is not looked into any further, as it could only tell the same again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from index_builder.galleries.manifest import GalleryKind
from index_builder.index_folder.version_record import VersionRecord
from index_builder.index_folder.versions import IndexFolder
from index_builder.verification.contents import (
    check_contents,
    check_counts,
    check_equal_contents,
    check_ids,
)
from index_builder.verification.findings import Report
from index_builder.verification.folder import (
    check_checkpoint,
    check_current,
    check_gallery_files,
    check_other_versions,
    check_rejected,
    check_versions,
)
from index_builder.verification.lookups import check_lookups
from index_builder.verification.opened import OpenedGallery, open_gallery
from index_builder.verification.recall import check_recall
from index_builder.verification.sample import check_sample
from index_builder.verification.vectors import check_agreement, check_background, check_lengths
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import GalleryIndexError

__all__ = ["verify_index"]

_KINDS: tuple[GalleryKind, ...] = ("images", "captions")
_LENGTHS = "lengths of vectors"


def verify_index(
    path: Path,
    *,
    version: int | None = None,
    sample: int = 100,
    images_root: Path | None = None,
    device: str = "cpu",
) -> Report:
    """Make every check of one version, and a quick one of the others; nothing is written or locked.

    Args:
        path: The index folder.
        version: Default: the served one.
        sample: Items of each gallery to encode again; 0 = none.
        images_root: Where the pictures lie now, if they moved.
        device: Of the encoder.

    Raises:
        GalleryIndexError: There is no index, or no such version.
    """
    index = IndexFolder(path)
    if not index.versions():
        index.current()  # says that there is no index
    if version is not None and version not in index.versions():
        index.record(version)  # says which there are
    report = Report()
    with report.check("index", "current") as check:
        served = check_current(index, check)
    with report.check("index", "versions") as check:
        check_versions(index, check)
    number = version or served
    if number is None:
        return report
    report.version = number
    with report.check("index", "other versions") as check:
        check_other_versions(index, number, check)
    try:
        record = index.record(number)
    except GalleryIndexError:
        return report  # told already
    root = images_root or (Path(record.images_root) if record.images_root else None)
    opened = _opened_galleries(index, record, root, report)
    encoder = check_checkpoint(index, record.checkpoint, device, report)
    if number == served:
        galleries = [one.gallery for one in opened]
        is_whole = len(opened) == len(record.galleries)
        with report.check("index", "rejected.jsonl") as check:
            check_rejected(index, number, galleries if is_whole else None, check)
    for one in opened:
        _check_gallery(one, report)
        if encoder is not None and sample:
            with report.check(one.gallery.kind, "sample, encoded again") as check:
                check_sample(one, _as_built(encoder, one, index, record, device), sample, check)
    has_wrong_lengths = any(check.problems for check in report.checks if check.name == _LENGTHS)
    for one, other in _pairs(opened):
        with report.check(one.gallery.kind, "recall@10") as check:
            if has_wrong_lengths:
                check.notes.append("not measured with vectors that do not have length 1")
            else:
                check_recall(one, other, check)
    for one in opened:
        one.gallery.close()
    return report


def _as_built(
    encoder: DualEncoder,
    opened: OpenedGallery,
    index: IndexFolder,
    record: VersionRecord,
    device: str,
) -> DualEncoder:
    """Return the network in the precision that a gallery was encoded in."""
    precision = opened.gallery.manifest.precision
    if precision == encoder.precision:
        return encoder
    place = index.path / record.checkpoint.folder
    return load_dual_encoder(place, device=device, precision=precision)


def _opened_galleries(
    index: IndexFolder, record: VersionRecord, root: Path | None, report: Report
) -> list[OpenedGallery]:
    """Return the galleries of a version whose every file is what it should be."""
    opened = []
    for kind in _KINDS:
        gallery = record.images if kind == "images" else record.captions
        if gallery is None:
            continue
        with report.check(kind, "files") as check:
            manifest = check_gallery_files(index, kind, gallery, record, check)
            if manifest is None:
                check.notes.append("damaged, so not looked into any further")
                continue
        with report.check(kind, "opening") as check:
            opened.append(open_gallery(index.path / gallery.folder, manifest, root))
            check.looked_at = f"{manifest.index.kind}, {manifest.dim}-d"
    return opened


def _check_gallery(opened: OpenedGallery, report: Report) -> None:
    for name, look in (
        ("counts", check_counts),
        ("ids", check_ids),
        ("contents", check_contents),
        ("equal contents", check_equal_contents),
        ("columns and words", check_lookups),
        (_LENGTHS, check_lengths),
        ("index.faiss against embeddings.f16", check_agreement),
        ("background.npy against embeddings.f16", check_background),
    ):
        with report.check(opened.gallery.kind, name) as check:
            look(opened, check)


def _pairs(
    opened: Sequence[OpenedGallery],
) -> Iterator[tuple[OpenedGallery, OpenedGallery | None]]:
    for one in opened:
        yield one, next((other for other in opened if other is not one), None)
