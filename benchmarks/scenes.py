"""`python -m benchmarks.scenes --checkpoint C --data data/scenes`: is the model worth its name?

Four figures on the held-out scenes, side by side: the model's exact R@K; the expected R@K of an
oracle that knows the scene graphs; precision@10 and its ceiling; a colour-histogram and
bag-of-words baseline. Exit status 1 if one of them misses its threshold.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from benchmarks.yardsticks import (
    RidgeBaseline,
    colour_histogram,
    oracle_recall_image_to_text,
    oracle_recall_text_to_image,
    precision_at,
    precision_ceiling,
)
from model import console
from model.command_line import Command, run_command
from model.data.scenes.dataset import CaptionedScene, read_scenes
from model.data.scenes.meaning import fits
from model.device import choose_device
from model.dual_encoder import DualEncoder, load_dual_encoder
from model.inputs.pictures import open_picture
from model.metrics import exact_scores, report_from_ranks, retrieval_ranks
from model.training.evaluation import encode_distinct

DEPTHS = (1, 5, 10)
ORACLE_RECALL_RANGE = (50.0, 90.0)
LEAST_RECALL_FRACTION = 0.7
LEAST_PRECISION_FRACTION = 0.8
LEAST_LEAD_POINTS = 15.0
LEAST_IMAGE_COUNT = 500


@dataclass(frozen=True)
class Recalls:
    """R@1, R@5, R@10 in percent."""

    recall_at_1: float
    recall_at_5: float
    recall_at_10: float


@dataclass(frozen=True)
class BothWays:
    """Recalls of both directions."""

    image_to_text: Recalls
    text_to_image: Recalls


@dataclass(frozen=True)
class Check:
    """One threshold: what was measured and what is wanted."""

    name: str
    value: float
    wanted: str
    is_met: bool


@dataclass(frozen=True)
class Figures:
    """Everything the benchmark reports; percentages but for names that end in `fraction`."""

    image_count: int
    caption_count: int
    model: BothWays
    oracle: BothWays
    baseline: BothWays
    precision_at_10: float
    precision_at_10_ceiling: float
    checks: tuple[Check, ...]


class ScenesBenchmark(Command):
    """Compare a checkpoint with oracle, ceiling and baseline on held-out scenes."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.scenes --checkpoint checkpoints/scenes --data data/scenes",
        "python -m benchmarks.scenes --checkpoint checkpoints/scenes --data data/scenes --json",
    )

    checkpoint: str = Field(description="checkpoint folder")
    data: Path = Field(description="folder that python -m model.data.scenes made")
    split: str = Field(default="test", description="which split to report on")
    device: str = Field(default="cpu", description="cpu, cuda, or auto: cuda where there is one")

    def run(self) -> int:
        """Print the figures; 1 if a threshold is missed."""
        items = read_scenes(self.data, self.split)
        encoder = load_dual_encoder(self.checkpoint, device=choose_device(self.device))
        console.say(f"encoding {len(items)} pictures and their captions")
        similarity = encode_and_score(encoder, self.data, items)
        console.say("fitting the baseline on the train split")
        baseline = baseline_similarity(self.data, items)
        figures = measure(items, similarity, baseline)
        if self.json_output:
            console.result_json(asdict(figures))
        else:
            _show(figures, self.split)
        return 0 if all(check.is_met for check in figures.checks) else 1


def encode_and_score(
    encoder: DualEncoder, data: Path, items: Sequence[CaptionedScene]
) -> np.ndarray:
    """Return the model's cosines (image, caption)."""
    images = encoder.encode_images([open_picture(data / "images" / item.image) for item in items])
    captions = encode_distinct(encoder.encode_captions, _texts(items))
    return exact_scores(images, captions).numpy()


def baseline_similarity(data: Path, items: Sequence[CaptionedScene]) -> np.ndarray:
    """Return the baseline's cosines (image, caption), trained on the train split."""
    train = read_scenes(data, "train")
    ridge = RidgeBaseline(_histograms(data, train), _texts(train), _caption_image(train))
    return ridge.similarity(_histograms(data, items), _texts(items))


def measure(
    items: Sequence[CaptionedScene], similarity: np.ndarray, baseline: np.ndarray
) -> Figures:
    """Return all figures of a split, given the cosines (image, caption) of model and baseline."""
    meanings = [caption.meaning for item in items for caption in item.captions]
    fitting = fits([item.scene for item in items], meanings)
    owner = _caption_image(items)
    model = _recalls(similarity, owner)
    oracle = BothWays(
        Recalls(*(oracle_recall_image_to_text(fitting, owner, k) for k in DEPTHS)),
        Recalls(*(oracle_recall_text_to_image(fitting, k) for k in DEPTHS)),
    )
    ridge = _recalls(baseline, owner)
    precision = precision_at(similarity, fitting, 10)
    ceiling = precision_ceiling(fitting, 10)
    return Figures(
        image_count=len(items),
        caption_count=len(meanings),
        model=model,
        oracle=oracle,
        baseline=ridge,
        precision_at_10=precision,
        precision_at_10_ceiling=ceiling,
        checks=_checks(len(items), model, oracle, ridge, precision / ceiling),
    )


def _checks(
    image_count: int,
    model: BothWays,
    oracle: BothWays,
    baseline: BothWays,
    precision_fraction: float,
) -> tuple[Check, ...]:
    """Return every threshold of the scenes, met or not; all are text -> image."""
    best = oracle.text_to_image.recall_at_1
    recall_fraction = model.text_to_image.recall_at_1 / best
    lead = model.text_to_image.recall_at_1 - baseline.text_to_image.recall_at_1
    low, high = ORACLE_RECALL_RANGE
    return (
        Check("images", image_count, f">= {LEAST_IMAGE_COUNT}", image_count >= LEAST_IMAGE_COUNT),
        Check("oracle R@1", best, f"{low:.0f} to {high:.0f}", low <= best <= high),
        Check(
            "R@1, fraction of the oracle's",
            recall_fraction,
            f">= {LEAST_RECALL_FRACTION}",
            recall_fraction >= LEAST_RECALL_FRACTION,
        ),
        Check(
            "precision@10, fraction of its ceiling",
            precision_fraction,
            f">= {LEAST_PRECISION_FRACTION}",
            precision_fraction >= LEAST_PRECISION_FRACTION,
        ),
        Check(
            "R@1, points above the baseline",
            lead,
            f">= {LEAST_LEAD_POINTS:.0f}",
            lead >= LEAST_LEAD_POINTS,
        ),
    )


def _recalls(similarity: np.ndarray, owner: np.ndarray) -> BothWays:
    """Return R@K both ways, ties counting against the system."""
    ranks = retrieval_ranks(torch.from_numpy(similarity).float(), torch.from_numpy(owner))
    report = report_from_ranks(*ranks)
    ways = (report.image_to_text, report.text_to_image)
    return BothWays(*(Recalls(way.recall_at_1, way.recall_at_5, way.recall_at_10) for way in ways))


def _texts(items: Sequence[CaptionedScene]) -> list[str]:
    return [caption.text for item in items for caption in item.captions]


def _caption_image(items: Sequence[CaptionedScene]) -> np.ndarray:
    return np.repeat(np.arange(len(items)), [len(item.captions) for item in items])


def _histograms(data: Path, items: Sequence[CaptionedScene]) -> np.ndarray:
    paths = (data / "images" / item.image for item in items)
    return np.stack([colour_histogram(open_picture(path)) for path in paths])


def _show(figures: Figures, split: str) -> None:
    """Print tables for people."""
    columns = ("direction", "R@1", "R@5", "R@10")
    rows = [
        (f"{who}, {direction}", *(f"{value:.1f}" for value in asdict(recalls).values()))
        for who, both in (
            ("model", figures.model),
            ("oracle", figures.oracle),
            ("baseline", figures.baseline),
        )
        for direction, recalls in (
            ("image → text", both.image_to_text),
            ("text → image", both.text_to_image),
        )
    ]
    title = f"scenes {split} · {figures.image_count:,} images · {figures.caption_count:,} captions"
    console.table(title, columns, rows)
    console.result(
        f"\nprecision@10 (text → image) {figures.precision_at_10:.1f}, "
        f"ceiling {figures.precision_at_10_ceiling:.1f}\n"
    )
    console.table(
        "thresholds (text → image)",
        ("what", "measured", "wanted", ""),
        [
            (check.name, f"{check.value:.2f}", check.wanted, "ok" if check.is_met else "MISSED")
            for check in figures.checks
        ],
    )


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.scenes", ScenesBenchmark))
