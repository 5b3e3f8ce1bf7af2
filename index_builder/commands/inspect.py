"""`inspect`: check an index and show what it holds."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.galleries.gallery import Gallery
from index_builder.index_folder.open_index import OpenIndex
from index_builder.index_folder.quality_records import RetrievalQuality
from index_builder.index_folder.versions import IndexFolder
from model.command_line import Command
from model.console import result, result_json, table

__all__ = ["Inspect"]

_SHOWN_HUBS = 3
_NAME_WIDTH = 40


class Inspect(Command):
    """Check an index and show what it holds."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder inspect indexes/scenes",
        "python -m index_builder inspect indexes/scenes --json",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    version: int | None = Field(default=None, ge=1, description="default: the served version")

    def run(self) -> None:
        """Open the index, which checks all of it, and show it."""
        folder = IndexFolder(self.index)
        opened = folder.open(self.version)
        galleries = [gallery for gallery in (opened.images, opened.captions) if gallery]
        quality = opened.record.quality
        if self.json_output:
            result_json(
                {
                    "index": str(self.index),
                    "version": opened.version,
                    "served_version": folder.current(),
                    "versions": folder.versions(),
                    "checkpoint": opened.record.checkpoint.model_dump(),
                    "images_root": opened.record.images_root,
                    "quality": quality.model_dump() if quality else None,
                    "galleries": {
                        gallery.kind: gallery.manifest.model_dump(mode="json")
                        for gallery in galleries
                    },
                }
            )
            return
        checkpoint = opened.record.checkpoint
        served = "served" if opened.version == folder.current() else "not served"
        result(f"{self.index} · version {opened.version} ({served}) of {folder.versions()}")
        result(f"checkpoint {checkpoint.fingerprint[:16]} · {checkpoint.name}")
        columns = ["gallery", "items", "set aside", "precision", "kind", "recall@10", "MB"]
        table("", columns, [_inspected(gallery) for gallery in galleries])
        for gallery in galleries:
            kinds = gallery.manifest.columns.items()
            told = ", ".join(f"{name}: {kind}" for name, kind in kinds) or "none"
            result(f"columns of {gallery.kind}  {told}")
        if quality is not None:
            _tell_quality(quality)
            _tell_hubs(opened, quality)


def _inspected(gallery: Gallery) -> list[object]:
    manifest = gallery.manifest
    size_mb = sum(record.size_bytes for record in manifest.files.values()) / 1e6
    return [
        manifest.kind,
        f"{manifest.count:,}",
        f"{manifest.rejected_count:,}",
        manifest.precision,
        manifest.index.kind,
        f"{manifest.index.recall_at_10:.3f}",
        f"{size_mb:.1f}",
    ]


def _tell_quality(quality: RetrievalQuality) -> None:
    columns = ["retrieval", "R@1", "R@5", "R@10", "queries"]
    rows: list[list[object]] = []
    for name, direction in (
        ("image → text", quality.image_to_text),
        ("text → image", quality.text_to_image),
    ):
        for engine, recalls in (
            ("this index", direction.through_index),
            ("exact search", direction.exact),
        ):
            shown = [f"{value:.1f}" for value in recalls.model_dump().values()]
            rows.append([f"{name}, {engine}", *shown, f"{direction.query_count:,}"])
    table("", columns, rows)


def _tell_hubs(opened: OpenIndex, quality: RetrievalQuality) -> None:
    columns = ["hubs among", "skewness", "never found", "queries"]
    rows: list[list[object]] = []
    most = []
    for kind, gallery, found in (
        ("images", opened.images, quality.image_hubs),
        ("captions", opened.captions, quality.caption_hubs),
    ):
        shown = found.hubs[:_SHOWN_HUBS]
        names = _names(gallery, [hub.id for hub in shown])
        hubs = ", ".join(
            f"{name} ({hub.occurrences:,})" for hub, name in zip(shown, names, strict=True)
        )
        never = f"{100 * found.never_found_fraction:.1f} %"
        skewness = f"{found.skewness:.2f}"
        rows.append([f"{kind}, k = {found.k}", skewness, never, f"{found.query_count:,}"])
        most.append(f"found most often of {kind}  {hubs}")
    table("", columns, rows)
    for told in most:
        result(told)
    result(
        "hubs crowd other items out of the first k hits; skewness is 0 where all are found equally "
        "often"
    )


def _names(gallery: Gallery | None, ids: Sequence[str]) -> Iterator[str]:
    """Yield what people know some items by: the end of a picture's path, a caption's beginning."""
    items = {} if gallery is None else gallery.items(ids)
    for item_id in ids:
        item = items.get(item_id)
        if item is not None and item.path:
            yield item.path if len(item.path) <= _NAME_WIDTH else f"...{item.path[-_NAME_WIDTH:]}"
        elif item is not None and item.caption:
            text = item.caption
            yield text if len(text) <= _NAME_WIDTH else f"{text[:_NAME_WIDTH]}..."
        else:
            yield item_id
