"""`prune`: remove versions that are no longer needed, and what was never finished."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.pruning import PruneReport, prune
from model.command_line import Command
from model.console import result, result_json

__all__ = ["Prune"]


class Prune(Command):
    """Remove old versions, what only they need, and the work of builds that never finished."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder prune indexes/scenes --dry-run",
        "python -m index_builder prune indexes/scenes --keep 1",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    keep: int = Field(
        default=2,
        ge=1,
        description="versions to keep: the served one and the newest others; a service answers for "
        "the served and the previous one",
    )
    dry_run: bool = Field(default=False, description="only tell what would be removed")

    def run(self) -> None:
        """Prune, and tell what was removed."""
        report = prune(self.index, keep=self.keep, is_dry_run=self.dry_run)
        if self.json_output:
            result_json({"index": str(self.index), **asdict(report)})
            return
        _tell(self.index, report)


def _tell(index: Path, report: PruneReport) -> None:
    verb = "would remove" if report.is_dry_run else "removed"
    for version in report.removed_versions:
        result(f"{verb}  versions/{version}.json")
    for name in report.removed:
        result(f"{verb}  {name}")
    kept = ", ".join(map(str, report.kept_versions))
    result(f"{verb}  {report.freed_bytes / 1e6:.1f} MB in all; {index} keeps versions {kept}")
