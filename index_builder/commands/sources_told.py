"""How the terminal tells what sources hold that their owner may not have meant."""

from collections.abc import Mapping
from pathlib import Path

from index_builder.listing.rejections import REJECTED_FILE, first_rejected
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


def tell_set_aside(index: Path, counts: Mapping[str, int]) -> None:
    """Show how much of each gallery was set aside, and why the first was; all stands in a file.

    Args:
        index: Its folder.
        counts: Inputs set aside, by the kind of gallery.
    """
    path = index / REJECTED_FILE
    for kind, count in counts.items():
        if count:
            result(f"set aside  {counted(count, kind)}: {path}")
            if first := first_rejected(path, kind):
                result(f"  the first is {first}" if count > 1 else f"  {first}")
