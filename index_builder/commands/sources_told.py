"""How the terminal tells what sources hold that their owner may not have meant."""

from index_builder.listing.unmatched_captions import UnmatchedCaptions
from model.console import result

__all__ = ["tell_unmatched_captions"]


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
