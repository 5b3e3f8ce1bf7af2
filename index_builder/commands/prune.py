"""`prune`: remove versions that are no longer needed; unfinished work if it is asked to."""

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
    """Remove old versions and what only they need; with --unfinished also work that was begun."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder prune indexes/scenes --dry-run",
        "python -m index_builder prune indexes/scenes --keep 1",
        "python -m index_builder prune indexes/scenes --unfinished",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    keep: int = Field(
        default=2,
        ge=1,
        description="versions to keep: the served one and the newest others; a service answers for "
        "the served and the previous one",
    )
    unfinished: bool = Field(
        default=False,
        description="also remove what builds that were not finished have encoded so far",
    )
    dry_run: bool = Field(default=False, description="only tell what would be removed")

    def run(self) -> None:
        """Prune, and tell what was removed."""
        report = prune(
            self.index, keep=self.keep, unfinished=self.unfinished, is_dry_run=self.dry_run
        )
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
    for work in report.unfinished:
        result(
            f"kept  {work.name}: {work.size_bytes / 1e6:.1f} MB of a build that was not finished, "
            f"last written {_age(work.age_s)} ago; the same build goes on with it, "
            "--unfinished removes it"
        )
    kept = ", ".join(map(str, report.kept_versions))
    result(f"{verb}  {report.freed_bytes / 1e6:.1f} MB in all; {index} keeps versions {kept}")


def _age(seconds: int) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
