"""`build`: encode pictures and captions with a checkpoint and write an index."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import ByteSize, Field

from index_builder.build import BuildReport, GalleryReport, build_index
from index_builder.commands.change_told import tell_next
from index_builder.commands.encoding_options import (
    KEPT_BYTES,
    BatchSize,
    Device,
    Limit,
    PartSize,
    Workers,
    rejection_limit,
    worker_count,
)
from index_builder.commands.sources_told import (
    tell_passed_over,
    tell_set_aside,
    tell_unmatched_captions,
)
from index_builder.encoding.parts import PART_SIZE
from index_builder.galleries.manifest import NamedKind
from index_builder.sources.shard_files import is_folder_of_shards
from index_builder.vector_index import IndexRequest
from model.allocation import keep_freed_memory
from model.command_line import Command
from model.console import counted, result, result_json, say
from model.device import choose_device
from model.inputs.pictures import MAX_PIXELS
from model.precision import Precision

__all__ = ["Build"]


class Build(Command):
    """Encode pictures and captions with a checkpoint and write an index."""

    when_interrupted: ClassVar[str] = "; the same command goes on where it was"
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
        description="folder tree of pictures; .jsonl, .csv or .parquet with path (or image), "
        "optional id; tar shards (file, folder or pattern); or a region array {split}_ims.npy in "
        "the SCAN layout",
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
    device: Device = "auto"
    precision: Precision = Field(
        default="float32",
        description="bfloat16: products by autocast, about two to three times as quick on a "
        "processor with instructions for it; queries stay float32",
    )
    batch_size: BatchSize = 64
    max_pixels: int = Field(
        default=MAX_PIXELS, ge=1, le=1_000_000_000, description="larger pictures are set aside"
    )
    kind: NamedKind | None = Field(
        default=None, description="kind of vector index; default: chosen by size and memory"
    )
    memory: ByteSize | None = Field(
        default=None,
        description="what a vector index may take, such as 8GiB; default: half of what this "
        "machine or container has",
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
        "2.5%; default: all but one",
    )
    workers: Workers = None
    part_size: PartSize = PART_SIZE

    def run(self) -> None:
        """Build, and tell what was written and what comes next."""
        keep_freed_memory(KEPT_BYTES)
        report = build_index(
            checkpoint=self.checkpoint,
            output=self.output,
            images=self.images,
            captions=self.captions,
            images_root=self.images_root,
            device=choose_device(self.device),
            precision=self.precision,
            batch_size=self.batch_size,
            part_size=self.part_size,
            worker_count=worker_count(self.workers),
            max_pixels=self.max_pixels,
            index_request=IndexRequest(self.kind, self.recall, self.memory, self.factory),
            max_rejected=rejection_limit(self.max_rejected),
        )
        if self.json_output:
            result_json({"index": str(self.output), **asdict(report)})
            return
        self._tell(report)

    def _tell(self, report: BuildReport) -> None:
        _tell_written(self.output, report)
        for kind, source, part in (
            ("images", self.images, report.images),
            ("captions", self.captions, report.captions),
        ):
            if part is not None and source is not None:
                _tell_left_out(kind, source, part, report.version_before)
        tell_passed_over(report.passed_over)
        tell_unmatched_captions(report.unmatched_captions)
        if report.is_new_version and report.version_before is not None:
            tell_next(self.output)
        else:
            say(f"next: python -m service --index {self.output}")


def _tell_written(output: Path, report: BuildReport) -> None:
    verb = "wrote" if report.is_new_version else "unchanged"
    both = (("images", report.images), ("captions", report.captions))
    written = [(kind, part) for kind, part in both if part is not None]
    told = ", ".join(counted(part.count, kind) for kind, part in written)
    result(f"{verb}  {output} version {report.version}: {told}")
    for kind, part in written:
        tell_set_aside(output, kind, count=part.rejected_count, used_count=part.count)


def _tell_left_out(
    kind: str, source: Path, part: GalleryReport, version_before: int | None
) -> None:
    if part.left_out_count:
        result(
            f"left out  {counted(part.left_out_count, kind)} of version {version_before} that the "
            "sources do not name any more; rollback brings them back, add keeps them"
        )
    if part.left_out_columns:
        reason = ""
        if source.is_dir() and not is_folder_of_shards(source):
            reason = " (a folder has none)"
        elif source.suffix.lower() == ".txt":
            reason = " (a .txt has none)"
        columns = ", ".join(part.left_out_columns)
        result(f"columns of {kind} left out: {columns}{reason}")
