"""Two models on the same queries: how much better is one, and is it more than luck?"""

from collections.abc import Mapping
from pathlib import Path

from model import console
from model.data.captioned_images import CaptionedImages
from model.errors import DataError
from model.ranking import Ranking
from model.training.bootstrap import Difference, RunRanks, paired_bootstrap
from model.training.stored_ranks import StoredRanks, data_hash, read_ranks

__all__ = ["IMAGES_ALONE", "differences_from", "figure_name", "ranks_on", "show_differences"]

IMAGES_ALONE = (
    "The interval is over the images alone: how far another seed would move either model is not in "
    "it (the command ablate trains several)."
)


def ranks_on(path: Path, images: CaptionedImages) -> StoredRanks:
    """Return the ranks that `evaluate --ranks` wrote for these very images and captions.

    Raises:
        DataError: There is no such file, or it is of other images or captions.
    """
    stored = read_ranks(path)
    if stored.facts.data_hash != data_hash(images):
        raise DataError(
            f"{path} has ranks of other images or captions than those evaluated here; write it "
            "again with the same --data and --split"
        )
    return stored


def differences_from(other: StoredRanks, ranking: Ranking) -> dict[str, Difference]:
    """Return how much better `ranking` is than `other`, for rSum and each of the six recalls."""
    ranks = RunRanks(ranking.image_to_text.numpy(), ranking.text_to_image.numpy())
    return paired_bootstrap([other.ranks], [ranks], other.facts.caption_image)


def figure_name(name: str) -> str:
    """Return what people call a figure: "text → image R@1" of `text_to_image.recall_at_1`."""
    return name.replace("_to_", " → ").replace(".recall_at_", " R@")


def show_differences(title: str, differences: Mapping[str, Difference]) -> None:
    """Print a line for each figure: its difference and the interval that holds 95 % of draws."""
    console.result(f"{title}: difference [95 % of draws of the images]")
    for name, one in differences.items():
        interval = f"{one.estimate:+.1f} [{one.low:+.1f}, {one.high:+.1f}]"
        if one.estimate == one.low == one.high == 0:  # no certainty: there was nothing to draw from
            interval = "+0.0, for no query is a hit in one and a miss in the other"
        console.result(f"  {figure_name(name):<20}{interval}")
    console.result(f"  {IMAGES_ALONE}")
