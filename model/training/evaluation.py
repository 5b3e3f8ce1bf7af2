"""Embeddings of captioned pictures for an evaluation, and the table of its figures.

Each image is encoded once and each distinct caption text once: equal texts get equal rows, so they
tie exactly, whatever batch they stood in.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from model import console
from model.data.datasets import CaptionedImages
from model.dual_encoder import DualEncoder
from model.inputs.pictures import open_picture
from model.metrics import RetrievalMetrics, RetrievalReport

__all__ = ["encode_distinct", "encode_images", "show_report"]

_BATCH = 64


def encode_distinct(encode: Callable[[list[str]], Tensor], captions: Sequence[str]) -> Tensor:
    """Return one embedding a caption (caption, dim), encoding each distinct text once."""
    places = {text: place for place, text in enumerate(dict.fromkeys(captions))}
    rows = torch.tensor([places[text] for text in captions])
    return encode(list(places))[rows]


def encode_images(encoder: DualEncoder, images: CaptionedImages) -> Tensor:
    """Return (image, dim), unit rows, each image encoded once.

    Raises:
        CheckpointError: The encoder cannot read pictures.
        PictureError: A picture cannot be read.
    """
    with console.progress("encoding images", len(images), "images") as bar:
        parts = []
        for start in _starts(len(images)):
            paths = images.image_paths[start : start + _BATCH]
            parts.append(encoder.encode_images([open_picture(path) for path in paths]))
            bar.advance(len(paths))
    return torch.cat(parts)


def show_report(title: str, report: RetrievalReport) -> None:
    """Print the table of a report and its rSum on stdout."""
    heading = f"{title} · {report.image_count:,} images · {report.caption_count:,} captions"
    console.table(
        heading,
        ["direction", "R@1", "R@5", "R@10", "median rank"],
        [
            ["image → text", *_cells(report.image_to_text)],
            ["text → image", *_cells(report.text_to_image)],
        ],
    )
    console.result(f"rSum {report.rsum:.1f}")


def _cells(metrics: RetrievalMetrics) -> list[str]:
    recalls = (metrics.recall_at_1, metrics.recall_at_5, metrics.recall_at_10)
    return [*(f"{recall:.1f}" for recall in recalls), str(metrics.median_rank)]


def _starts(count: int) -> Iterator[int]:
    return iter(range(0, count, _BATCH))
