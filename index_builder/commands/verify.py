"""`verify`: is an index what it says it is?"""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.verification import Report, verify_index
from model.command_line import Command
from model.console import result, result_json, table
from model.device import choose_device

__all__ = ["Verify"]


class Verify(Command):
    """Check all of an index: every byte, counts, vectors, a sample encoded again, recall."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder verify indexes/scenes",
        "python -m index_builder verify indexes/scenes --sample 1000 --device cuda",
    )

    index: CliPositionalArg[Path] = Field(description="index folder; nothing in it is changed")
    version: int | None = Field(default=None, ge=1, description="default: the served version")
    sample: int = Field(
        default=100, ge=0, description="items of each gallery that are encoded again; 0 = none"
    )
    images_root: Path | None = Field(
        default=None, description="where the pictures lie now, if they moved"
    )
    device: str = Field(default="auto", description="cpu, cuda, or auto: cuda where there is one")

    def run(self) -> int:
        """Verify, tell everything that was found, and return 1 if there is a problem."""
        report = verify_index(
            self.index,
            version=self.version,
            sample=self.sample,
            images_root=self.images_root,
            device=choose_device(self.device),
        )
        if self.json_output:
            result_json(
                {
                    "index": str(self.index),
                    "version": report.version,
                    "problem_count": len(report.problems),
                    "checks": [asdict(check) for check in report.checks],
                }
            )
        else:
            _tell(self.index, report)
        return 1 if report.problems else 0


def _tell(index: Path, report: Report) -> None:
    rows = [
        [
            f"{check.part}: {check.name}",
            f"problems: {len(check.problems)}" if check.problems else "ok",
            check.looked_at,
        ]
        for check in report.checks
    ]
    table(f"{index} · version {report.version or 'unknown'}", ["check", "found", "looked at"], rows)
    for check in report.checks:
        for note in check.notes:
            result(f"note  {check.part}: {note}")
    for problem in report.problems:
        result(f"problem  {problem}")
    if not report.problems:
        result("no problem found")
