"""`rollback`: serve again what an earlier version named."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.commands.change_told import tell_next
from index_builder.rollback import RollbackReport, roll_back
from model.command_line import Command
from model.console import counted, result, result_json

__all__ = ["Rollback"]


class Rollback(Command):
    """Serve again what an earlier version named, as a new version."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder rollback indexes/scenes",
        "python -m index_builder rollback indexes/scenes --to 3",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    to: int | None = Field(
        default=None,
        ge=1,
        description="version to bring back; default: the newest before the served one that answers "
        "otherwise",
    )

    def run(self) -> None:
        """Roll back, and tell what is served now."""
        report = roll_back(self.index, self.to)
        if self.json_output:
            result_json({"index": str(self.index), **asdict(report)})
            return
        _tell(self.index, report)


def _tell(index: Path, report: RollbackReport) -> None:
    if not report.is_new_version:
        result(
            f"unchanged  {index} version {report.version} serves what version "
            f"{report.restored_from} names already"
        )
        return
    parts = [
        counted(count, kind)
        for kind, count in (("images", report.image_count), ("captions", report.caption_count))
        if count is not None
    ]
    result(
        f"serves  {index} version {report.version}: {', '.join(parts)} of version "
        f"{report.restored_from}, instead of version {report.served_before}"
    )
    tell_next(index)
