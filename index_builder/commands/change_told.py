"""How a change of an index is told in the terminal, and what comes next."""

from collections.abc import Sequence
from pathlib import Path

from index_builder.commands.sources_told import (
    tell_passed_over,
    tell_set_aside,
    tell_unmatched_captions,
)
from index_builder.writing.changes import ChangeReport
from model.console import result, say

__all__ = ["tell_change", "tell_next"]


def tell_change(index: Path, report: ChangeReport) -> None:
    """Show what changed and what comes next."""
    verb = "wrote" if report.is_new_version else "unchanged"
    result(f"{verb}  {index} version {report.version}")
    for kind, change in (("images", report.images), ("captions", report.captions)):
        if change is None:
            continue
        counts = (
            (change.added_count, "added"),
            (change.changed_count, "changed"),
            (change.removed_count, "removed"),
        )
        told = ", ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing new"
        compacted = "; compacted" if change.is_compacted else ""
        result(f"{kind}  {told}; {change.count:,} in all{compacted}")
        tell_set_aside(index, kind, count=change.rejected_count, used_count=change.count)
    if report.gone_file_count:
        _tell_gone(report.gone_file_count, report.gone_files)
    if count := report.orphaned_caption_count:
        result(
            f"{count:,} {'captions name' if count > 1 else 'caption names'} what was removed and "
            f"{'stay' if count > 1 else 'stays'}; to remove {'them' if count > 1 else 'it'} too, "
            "roll back and remove with --with-captions"
        )
    tell_passed_over(report.passed_over)
    tell_unmatched_captions(report.unmatched_captions)
    if report.is_new_version:
        tell_next(index)


def _tell_gone(count: int, shown: Sequence[str]) -> None:
    first = ", ".join(shown) + (", ..." if count > len(shown) else "")
    pictures = "pictures of the index have" if count > 1 else "picture of the index has"
    them = "them" if count > 1 else "it"
    result(
        f"{count:,} {pictures} no file any more: {first}; build takes {them} out, and so does "
        "remove"
    )


def tell_next(index: Path) -> None:
    """Show how a version that is new, in an index that was there, comes to be served."""
    say(
        "next: a running service serves it after kill -HUP PID, or POST /admin/reload with an "
        f"admin key; else start one: python -m service --index {index}"
    )
