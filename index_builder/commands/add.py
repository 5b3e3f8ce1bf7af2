"""`add`: new and changed items only; the rest of the index stays."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.add import add_items
from index_builder.commands.build import KEPT_BYTES, Limit
from index_builder.commands.change_told import tell_change
from index_builder.parts import PART_SIZE
from index_builder.rejections import RejectionLimit
from index_builder.workers import allowed_core_count
from model.allocation import keep_freed_memory
from model.command_line import Command
from model.console import result_json
from model.device import choose_device

__all__ = ["Add"]


class Add(Command):
    """Add new and changed pictures and captions to an index; what it has stays."""

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
    device: str = Field(default="auto", description="cpu, cuda, or auto: cuda where there is one")
    batch_size: int = Field(default=64, ge=1, le=4096, description="items encoded at once")
    max_rejected: Limit | None = Field(
        default=None,
        description="most inputs of a gallery that may be set aside: a number, or a share such as "
        "2.5%; default: any number",
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
            worker_count=allowed_core_count() if self.workers is None else self.workers,
            max_rejected=None if self.max_rejected is None else RejectionLimit(self.max_rejected),
        )
        if self.json_output:
            result_json({"index": str(self.index), **asdict(report)})
            return
        tell_change(self.index, report)
