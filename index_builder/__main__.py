"""`python -m index_builder`: make an index, look at it, search it in the terminal."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ByteSize, Field
from pydantic_settings import CliPositionalArg

from index_builder.build import BuildReport, build_index
from index_builder.gallery import MAX_HIT_COUNT, Gallery
from index_builder.manifest import GalleryKind
from index_builder.parts import PART_SIZE
from index_builder.rejections import RejectionLimit
from index_builder.retrieval_quality import RetrievalQuality
from index_builder.vector_index import IndexRequest
from index_builder.versions import IndexFolder, OpenIndex
from index_builder.workers import allowed_core_count
from model.command_line import Command, run_commands
from model.console import result, result_json, say, table
from model.device import choose_device
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.errors import ConfigError, GalleryIndexError
from model.inputs.pictures import MAX_PIXELS, open_picture

_SHOWN_HUBS = 3


def _limit(text: str) -> str:
    return RejectionLimit(text).text


Limit = Annotated[str, BeforeValidator(str), AfterValidator(_limit)]


class Build(Command):
    """Encode pictures and captions with a checkpoint and write an index."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder build --checkpoint checkpoints/scenes --images photos/ "
        "--output indexes/photos",
        "python -m index_builder build --checkpoint checkpoints/scenes "
        "--images data/scenes/images-test.jsonl --images-root data/scenes/images "
        "--captions data/scenes/captions-test.jsonl --output indexes/scenes",
    )

    checkpoint: str = Field(
        description="checkpoint folder or hub name: HREM, or a CLIP-like model of transformers"
    )
    images: Path | None = Field(
        default=None,
        description="folder tree of pictures; .jsonl, .csv or .parquet with path, optional id; tar "
        "shards (file, folder or pattern); or a region array {split}_ims.npy in the SCAN layout",
    )
    captions: Path | None = Field(
        default=None,
        description=".txt, one caption a line; .jsonl, .csv or .parquet with caption (or "
        "captions), optional id, image_id or image; or tar shards",
    )
    output: Path = Field(description="index folder")
    images_root: Path | None = Field(
        default=None,
        description="what the pictures' paths are relative to; default: the folder --images, or "
        "the folder that the file --images lies in",
    )
    device: str = Field(default="auto", description="cpu, cuda, or auto: cuda where there is one")
    batch_size: int = Field(default=64, ge=1, le=4096, description="items encoded at once")
    max_pixels: int = Field(
        default=MAX_PIXELS, ge=1, le=1_000_000_000, description="larger pictures are set aside"
    )
    kind: Literal["exact", "hnsw", "ivf"] | None = Field(
        default=None, description="kind of vector index; default: chosen by size and memory"
    )
    memory: ByteSize | None = Field(
        default=None,
        description="what a vector index may take, such as 8GiB; default: half of this machine's",
    )
    recall: float = Field(
        default=0.95,
        gt=0,
        le=1,
        description="recall@10 against exact search that the search is tuned to; 1 means exact",
    )
    factory: str | None = Field(
        default=None, description="FAISS factory string, such as IVF4096,SQ8, instead of a kind"
    )
    max_rejected: Limit | None = Field(
        default=None,
        description="most inputs of a gallery that may be set aside: a number, or a share such as "
        "2.5%%; default: all but one",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        le=1024,
        description="processes that read and decode pictures; 0 = none but this one; default: one "
        "for each core",
    )
    part_size: int = Field(
        default=PART_SIZE,
        ge=1,
        le=1_000_000,
        description="items that are written at once, which is what a kill costs at most",
    )

    def run(self) -> None:
        """Build, and tell what was written and what comes next."""
        report = build_index(
            checkpoint=self.checkpoint,
            output=self.output,
            images=self.images,
            captions=self.captions,
            images_root=self.images_root,
            device=choose_device(self.device),
            batch_size=self.batch_size,
            part_size=self.part_size,
            worker_count=allowed_core_count() if self.workers is None else self.workers,
            max_pixels=self.max_pixels,
            index_request=IndexRequest(self.kind, self.recall, self.memory, self.factory),
            max_rejected=None if self.max_rejected is None else RejectionLimit(self.max_rejected),
        )
        if self.json_output:
            result_json({"index": str(self.output), **asdict(report)})
            return
        _tell(self.output, report)


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
        columns = ["gallery", "items", "set aside", "kind", "recall@10", "MB", "columns"]
        table("", columns, [_inspected(gallery) for gallery in galleries])
        if quality is not None:
            _tell_quality(quality)


class Search(Command):
    """Answer one query in the terminal."""

    examples: ClassVar[tuple[str, ...]] = (
        'python -m index_builder search indexes/scenes "a red circle"',
        "python -m index_builder search indexes/scenes --image photo.jpg",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    query: CliPositionalArg[str | None] = Field(default=None, description="a sentence, in quotes")
    image: Path | None = Field(default=None, description="search with this picture instead")
    target: GalleryKind | None = Field(
        default=None, description="what to find; default: images for text, captions for a picture"
    )
    limit: int = Field(default=10, ge=1, le=MAX_HIT_COUNT, description="number of hits")
    checkpoint: str | None = Field(
        default=None, description="another place of the checkpoint; default: the index's own copy"
    )
    device: str = Field(default="cpu", description="cpu, cuda, or auto: cuda where there is one")

    def run(self) -> None:
        """Encode the query, search, and show the hits."""
        if (self.query is None) == (self.image is None):
            raise ConfigError(["query: give either a sentence in quotes or --image FILE"])
        if self.query is not None and not self.query.strip():
            raise ConfigError(["query: it has no words; write what the picture should show"])
        opened = IndexFolder(self.index).open()
        kind: GalleryKind = self.target or ("images" if self.image is None else "captions")
        gallery = _gallery(opened, kind)
        place = self.checkpoint or opened.checkpoint_path
        encoder = load_dual_encoder(place, device=choose_device(self.device))
        opened.check_encoder(encoder.fingerprint, place)
        self._show(gallery, encoder)

    def _show(self, gallery: Gallery, encoder: DualEncoder) -> None:
        if self.image is not None:
            query = encoder.encode_images([open_picture(self.image)])
        else:
            query = encoder.encode_captions([self.query or ""])
        (hits,) = gallery.search(query.numpy(), self.limit)
        items = gallery.items([hit.item_id for hit in hits])
        if self.json_output:
            answer = [
                {
                    "rank": hit.rank,
                    "id": hit.item_id,
                    "score": hit.score,
                    "caption": items[hit.item_id].caption,
                    "path": items[hit.item_id].path,
                    "image_id": items[hit.item_id].image_id,
                    "metadata": items[hit.item_id].metadata,
                }
                for hit in hits
            ]
            result_json({"target": gallery.kind, "hits": answer})
            return
        rows = [
            (items[hit.item_id].caption or items[hit.item_id].path or hit.item_id,
             f"{hit.score:.4f}", hit.rank)
            for hit in hits
        ]  # fmt: skip
        table("", [gallery.kind.removesuffix("s"), "score", "rank"], rows)


def _gallery(opened: OpenIndex, kind: GalleryKind) -> Gallery:
    gallery = opened.gallery(kind)
    if gallery is None:
        other = "captions" if kind == "images" else "images"
        raise GalleryIndexError(
            f"{opened.folder} has no {kind}; use --target {other}, or add them with: "
            f"python -m index_builder build --{kind} ..."
        )
    return gallery


def _tell(output: Path, report: BuildReport) -> None:
    verb = "wrote" if report.is_new_version else "unchanged"
    parts = [
        f"{part.count:,} {kind}"
        for kind, part in (("images", report.images), ("captions", report.captions))
        if part is not None
    ]
    result(f"{verb}  {output} version {report.version}: {', '.join(parts)}")
    if report.rejected_count:
        result(f"set aside  {report.rejected_count:,} inputs: {output / 'rejected.jsonl'}")
    say(f"next: python -m service --index {output}")


def _inspected(gallery: Gallery) -> list[object]:
    manifest = gallery.manifest
    size_mb = sum(record.size_bytes for record in manifest.files.values()) / 1e6
    return [
        manifest.kind,
        f"{manifest.count:,}",
        f"{manifest.rejected_count:,}",
        manifest.index.kind,
        f"{manifest.index.recall_at_10:.3f}",
        f"{size_mb:.1f}",
        ", ".join(f"{name}: {kind}" for name, kind in manifest.columns.items()) or "none",
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
    columns = ["hubs among", "skewness", "never found", "found most often", "queries"]
    rows = []
    for kind, found in (("images", quality.image_hubs), ("captions", quality.caption_hubs)):
        hubs = ", ".join(f"{hub.id} ({hub.occurrences:,})" for hub in found.hubs[:_SHOWN_HUBS])
        never = f"{100 * found.never_found_fraction:.1f} %"
        rows.append([f"{kind}, k = {found.k}", f"{found.skewness:.2f}", never, hubs,
                     f"{found.query_count:,}"])  # fmt: skip
    table("", columns, rows)


if __name__ == "__main__":
    sys.exit(
        run_commands(
            "python -m index_builder", {"build": Build, "inspect": Inspect, "search": Search}
        )
    )
