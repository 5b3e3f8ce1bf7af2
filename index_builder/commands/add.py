"""`add`: new and changed items only; the rest of the index stays."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.add import add_items
from index_builder.commands.change_told import tell_change
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
from index_builder.encoding.parts import PART_SIZE
from model.allocation import keep_freed_memory
from model.command_line import Command
from model.console import result_json
from model.device import choose_device

__all__ = ["Add"]


class Add(Command):
    """Add new and changed pictures and captions to an index; what it has stays."""

    when_interrupted: ClassVar[str] = "; the same command goes on where it was"
    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder add indexes/photos --images photos/",
        "python -m index_builder add indexes/photos --captions new-captions.jsonl",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    images: Path | None = Field(
        default=None, description="source of pictures as for build; unchanged files are not read"
    )
    captions: Path | None = Field(default=None, description="source of captions as for build")
    images_root: Path | None = Field(
        default=None,
        description="what the pictures' paths are relative to; default: as in the index",
    )
    device: Device = "auto"
    batch_size: BatchSize = 64
    max_rejected: Limit | None = Field(
        default=None,
        description="most inputs of a gallery that may be set aside: a number, or a share such as "
        "2.5%; default: any number",
    )
    workers: Workers = None
    part_size: PartSize = PART_SIZE

    def run(self) -> None:
        """Add, and tell what changed."""
        keep_freed_memory(KEPT_BYTES)
        report = add_items(
            self.index,
            images=self.images,
            captions=self.captions,
            images_root=self.images_root,
            device=choose_device(self.device),
            batch_size=self.batch_size,
            part_size=self.part_size,
            worker_count=worker_count(self.workers),
            max_rejected=rejection_limit(self.max_rejected),
        )
        if self.json_output:
            result_json({"index": str(self.index), **asdict(report)})
            return
        tell_change(self.index, report)
