"""Retrieval over consecutive equal folds of the images: the COCO 1K protocol.

Source: the field's evaluation of COCO 1K, five folds of the 5,000 test images, averaged.
"""

from collections.abc import Sequence
from dataclasses import fields

import torch
from torch import Tensor

from model.errors import DataError
from model.metrics import RetrievalMetrics, RetrievalReport, report_from_ranks
from model.ranking import Hits, Ranking, rank_retrieval

__all__ = ["check_folds", "rank_in_folds", "report_of_folds"]


def check_folds(image_count: int, fold_count: int) -> None:
    """Raise DataError unless so many images can be cut into so many equal folds."""
    if image_count % fold_count:
        raise DataError(f"{image_count:,} images cannot be cut into {fold_count} equal folds")


def rank_in_folds(
    image_embeddings: Tensor,
    caption_embeddings: Tensor,
    caption_image: Tensor,
    *,
    fold_count: int,
    hit_count: int = 0,
) -> Ranking:
    """Return the ranks and hits of every query among the items of its own fold.

    Args:
        image_embeddings: (image, dim), unit rows.
        caption_embeddings: (caption, dim), unit rows, those of an image side by side in the order
            of the images.
        caption_image: (caption,), row of the image that each caption belongs to.
        fold_count: How many consecutive folds; 1 = all images at once.
        hit_count: How many hits to keep of each query; positions are those in the whole data set.

    Raises:
        DataError: The images cannot be cut into so many equal folds.
    """
    check_folds(len(image_embeddings), fold_count)
    size = len(image_embeddings) // fold_count
    parts: list[Ranking] = []
    caption_hits: list[Hits] = []
    image_hits: list[Hits] = []
    for start in range(0, len(image_embeddings), size):
        own = _captions_of_fold(caption_image, start, size)
        part = rank_retrieval(
            image_embeddings[start : start + size],
            caption_embeddings[own],
            caption_image[own] - start,
            hit_count=hit_count,
        )
        parts.append(part)
        if part.caption_hits is not None and part.image_hits is not None:
            caption_hits.append(_moved(part.caption_hits, own.start))
            image_hits.append(_moved(part.image_hits, start))
    return Ranking(
        torch.cat([part.image_to_text for part in parts]),
        torch.cat([part.text_to_image for part in parts]),
        torch.cat([part.own_scores for part in parts]),
        _joined(caption_hits) if caption_hits else None,
        _joined(image_hits) if image_hits else None,
    )


def report_of_folds(ranking: Ranking, caption_image: Tensor, *, fold_count: int) -> RetrievalReport:
    """Return the mean of the reports of all folds.

    Its counts are those of all folds together; its median rank is the mean of the folds' medians.

    Args:
        ranking: As `rank_in_folds` returns it.
        caption_image: (caption,), row of the image that each caption belongs to.
        fold_count: How many folds it is of.
    """
    if fold_count == 1:
        return report_from_ranks(ranking.image_to_text, ranking.text_to_image)
    image_count = len(ranking.image_to_text)
    size = image_count // fold_count
    reports = []
    for start in range(0, image_count, size):
        own = _captions_of_fold(caption_image, start, size)
        of_images = ranking.image_to_text[start : start + size]
        reports.append(report_from_ranks(of_images, ranking.text_to_image[own]))
    return RetrievalReport(
        image_count=image_count,
        caption_count=len(caption_image),
        image_to_text=_mean([report.image_to_text for report in reports]),
        text_to_image=_mean([report.text_to_image for report in reports]),
        rsum=_mean_of([report.rsum for report in reports]),
    )


def _captions_of_fold(caption_image: Tensor, start: int, size: int) -> slice:
    """Return where the captions of `size` images from `start` on stand."""
    first, last = torch.searchsorted(caption_image, torch.tensor([start, start + size])).tolist()
    return slice(first, last)


def _moved(hits: Hits, by: int) -> Hits:
    return Hits(hits.positions + by, hits.scores)


def _joined(parts: Sequence[Hits]) -> Hits:
    """Return the hits of all parts; the shortest part says how many of each query."""
    count = min(part.positions.shape[1] for part in parts)
    return Hits(
        torch.cat([part.positions[:, :count] for part in parts]),
        torch.cat([part.scores[:, :count] for part in parts]),
    )


def _mean(parts: Sequence[RetrievalMetrics]) -> RetrievalMetrics:
    """Return the mean of every figure."""
    return RetrievalMetrics(
        **{
            field.name: _mean_of([getattr(part, field.name) for part in parts])
            for field in fields(RetrievalMetrics)
        }
    )


def _mean_of(values: Sequence[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
