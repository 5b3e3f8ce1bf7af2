"""Embeddings of captioned images for an evaluation, and the table of its figures.

Each image is encoded once and each distinct caption text once: equal texts get equal rows, so they
tie exactly, whatever batch they stood in.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from model import console
from model.data.captioned_images import CaptionedImages
from model.dual_encoder import DualEncoder, region_encoder
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
    """Return (image, dim), unit rows, each image encoded once, be it a picture or regions.

    Raises:
        CheckpointError: The encoder reads pictures and these are regions, or the reverse.
        PictureError: A picture cannot be read.
        RegionFeatureError: The regions are of another width, or hold NaN.
    """
    reader = None if images.regions is None else region_encoder(encoder)
    parts = []
    with console.progress("encoding images", len(images), "images") as bar:
        for start in range(0, len(images), _BATCH):
            places = np.arange(start, min(start + _BATCH, len(images)))
            if images.regions is not None and reader is not None:
                batch = images.regions.read(places)
                counts = torch.from_numpy(batch.counts)
                parts.append(reader.encode_regions(batch.features, counts))
            else:
                pictures = [open_picture(images.image_paths[place]) for place in places]
                parts.append(encoder.encode_images(pictures))
            bar.advance(len(places))
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
    return [*(f"{recall:.1f}" for recall in recalls), f"{metrics.median_rank:g}"]
