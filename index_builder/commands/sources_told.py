"""How the terminal tells what sources hold that their owner may not have meant."""

from collections.abc import Mapping
from pathlib import Path

from index_builder.listing.rejections import REJECTED_FILE, rejected_by_code
from index_builder.listing.unmatched_captions import UnmatchedCaptions
from index_builder.sources.folder_tree import told_passed_over
from index_builder.sources.picture_file import OTHER_PICTURE_ENDINGS
from model.console import counted, result

__all__ = ["tell_passed_over", "tell_set_aside", "tell_unmatched_captions"]


def tell_passed_over(counts: Mapping[str, int]) -> None:
    """Show what a folder holds besides pictures, and which of it are pictures all the same."""
    if not counts:
        return
    result(f"passed over: {told_passed_over(counts)}")
    if pictures := sorted(counts.keys() & OTHER_PICTURE_ENDINGS):
        result(f"  {' '.join(pictures)} hold pictures but are not read: convert them to JPEG first")


def tell_unmatched_captions(unmatched: UnmatchedCaptions | None) -> None:
    """Show which captions name no picture of the index, and what would help."""
    if unmatched is None:
        return
    more = ", ..." if unmatched.is_cut else ""
    result(
        f"{unmatched.count:,} of {unmatched.caption_count:,} captions name no picture of the "
        f"index: {', '.join(unmatched.shown)}{more}"
    )
    if unmatched.hint:
        result(f"  {unmatched.hint}")


def tell_set_aside(index: Path, kind: str, *, count: int, used_count: int) -> None:
    """Show how much of a gallery was set aside, and for each reason why the first was.

    Args:
        index: Its folder, with the file that tells of all.
        kind: Of the gallery.
        count: Inputs set aside.
        used_count: Inputs that were not.
    """
    if not count:
        return
    path = index / REJECTED_FILE
    result(f"set aside  {counted(count, kind)}: {path}")
    by_code = rejected_by_code(path, kind)
    for code, (of_code, first) in by_code.items():
        place = "" if of_code == 1 else "the first is "
        result(f"  {of_code:,} {code}, {place}{first}" if len(by_code) > 1 else f"  {place}{first}")
    missing, _ = by_code.get("missing", (0, ""))
    if missing > used_count:
        result("  more are missing than are there: is --images-root right?")
