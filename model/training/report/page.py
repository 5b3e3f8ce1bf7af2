"""The page itself: facts of an evaluation in, one HTML text out.

- It stands alone: style, charts and thumbnails are inside; it asks nobody for anything.
- Whatever comes from data (captions, ids, names) is escaped by the template engine.
- Every chart has a table with the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from model.data.captioned_images import CaptionedImages
from model.hubness import Hubness, hubness
from model.metrics import RetrievalReport
from model.ranking import Hits, Ranking
from model.training.analysis import (
    QuartileRecall,
    quartile_recalls,
    rank_histogram,
    recall_curve,
)
from model.training.bootstrap import Difference
from model.training.comparison import IMAGES_ALONE, figure_name
from model.training.report.charts import Line, bar_chart, line_chart
from model.training.report.misses import hardest_caption_misses, hardest_image_misses
from model.training.report.published import PublishedTable
from model.training.report.thumbnails import Thumbnails
from model.training.stored_ranks import QueryFacts

__all__ = ["HIT_COUNT", "Subject", "render_report"]

HIT_COUNT = 10  # hits a query that the page needs of a ranking
_FOLDER = Path(__file__).parent
_MISSES = 10
_HUBS = 5
_HIGHEST_K = 100
_SHOWN_K = (1, 2, 5, 10, 20, 50, 100)
_RANK_EDGES = (0, 1, 2, 3, 5, 10, 20, 50, 100)
_RANK_NAMES = ("1", "2", "3", "4–5", "6–10", "11–20", "21–50", "51–100", "> 100")


@dataclass(frozen=True)
class Subject:
    """What was evaluated.

    Attributes:
        title: Data set and split.
        checkpoints: (name, fingerprint) of each; several mean that similarities were averaged.
        images: The images and captions.
        published: What the authors published of them; None where the data are not theirs.
        compared_with: What another model is called that was evaluated on the same data, if any.
        differences: How much better than it this one is, by figure.
        note: How many of the images the checkpoints have seen; empty where nobody knows.
        is_full: The checkpoints are a Fusion and a Standalone, whose mean the paper calls Full*.
    """

    title: str
    checkpoints: Sequence[tuple[str, str]]
    images: CaptionedImages
    published: PublishedTable | None = None
    compared_with: str | None = None
    differences: Mapping[str, Difference] = field(default_factory=dict)
    note: str = ""
    is_full: bool = False


def render_report(
    subject: Subject, report: RetrievalReport, ranking: Ranking, facts: QueryFacts
) -> str:
    """Return the page as HTML.

    Args:
        subject: What was evaluated.
        report: Its recalls.
        ranking: Its ranks, with `HIT_COUNT` hits a query.
        facts: Rarity and neighbours, in the order of images and captions.

    Raises:
        PictureError: A picture to be shown cannot be read.
    """
    engine = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    engine.filters["figure"] = figure_name
    engine.filters["signed"] = lambda value: f"{value:+.1f}"
    engine.filters["one"] = lambda value: f"{value:.1f}"
    engine.filters["count"] = lambda value: f"{value:,}"
    thumbnails = Thumbnails(subject.images.image_paths)
    return engine.get_template("page.html").render(
        style=Markup((_FOLDER / "style.css").read_text(encoding="utf-8")),
        subject=subject,
        report=report,
        facts=facts,
        images_alone=IMAGES_ALONE,
        curves=_curves(ranking),
        histograms=_histograms(ranking),
        quarters=_quarters(ranking, facts),
        hubs=_hubs(ranking, subject.images, thumbnails),
        misses=_misses(ranking, subject.images, thumbnails),
    )


def _curves(ranking: Ranking) -> dict[str, Any]:
    """Return the chart of R@K and its table."""
    ways = {
        "image → text": recall_curve(ranking.image_to_text.numpy(), highest_k=_HIGHEST_K),
        "text → image": recall_curve(ranking.text_to_image.numpy(), highest_k=_HIGHEST_K),
    }
    lines = [
        Line(name, [(k + 1, float(recall)) for k, recall in enumerate(curve)])
        for name, curve in ways.items()
    ]
    return {
        "chart": line_chart(
            f"R@K for K = 1 to {_HIGHEST_K}",
            lines,
            x_label="K (logarithmic)",
            y_label="R@K, percent",
            x_ticks=_SHOWN_K,
        ),
        "names": list(ways),
        "rows": [(k, [curve[k - 1] for curve in ways.values()]) for k in _SHOWN_K],
    }


def _histograms(ranking: Ranking) -> list[dict[str, Any]]:
    """Return a chart and its rows for each direction."""
    ways = (("image → text", ranking.image_to_text), ("text → image", ranking.text_to_image))
    found = []
    for name, ranks in ways:
        counts = rank_histogram(ranks.numpy(), _RANK_EDGES)
        bars = list(zip(_RANK_NAMES, counts, strict=True))
        title = f"Ranks, {name}"
        found.append(
            {
                "title": title,
                "chart": bar_chart(title, bars, x_label="rank", y_label="queries"),
                "rows": [(rank, count, 100 * count / len(ranks)) for rank, count in bars],
            }
        )
    return found


def _quarters(ranking: Ranking, facts: QueryFacts) -> list[dict[str, Any]]:
    """Return the quartile tables of the authors' two claims, each with its chart."""
    text_to_image = ranking.text_to_image.numpy()
    image_to_text = ranking.image_to_text.numpy()
    similarity = facts.neighbour_similarity
    words, look_alike = "captions with the rarest content word", "cosine with the nearest image"
    return [
        _quarter_table(
            "text → image, by the rarest content word",
            words,
            quartile_recalls(facts.rarest_word_counts, text_to_image),
            decimals=0,
        ),
        _quarter_table(
            "text → image, by the nearest neighbour of the image",
            look_alike,
            quartile_recalls(similarity[facts.caption_image], text_to_image),
            decimals=3,
        ),
        _quarter_table(
            "image → text, by the nearest neighbour of the image",
            look_alike,
            quartile_recalls(similarity, image_to_text),
            decimals=3,
        ),
    ]


def _quarter_table(
    title: str, value_name: str, rows: Sequence[QuartileRecall], *, decimals: int
) -> dict[str, Any]:
    ranges = [f"{row.lowest:,.{decimals}f} to {row.highest:,.{decimals}f}" for row in rows]
    bars = [(name, row.recall_at_1) for name, row in zip(ranges, rows, strict=True)]
    return {
        "title": title,
        "value_name": value_name,
        "rows": list(zip(ranges, rows, strict=True)),
        "chart": bar_chart(
            f"R@1 {title}",
            bars,
            x_label=value_name,
            y_label="R@1, percent",
            decimals=1,
            highest_y=100,
        ),
    }


def _hubs(
    ranking: Ranking, images: CaptionedImages, thumbnails: Thumbnails
) -> list[dict[str, Any]]:
    """Return for each gallery its hubness and the items that turn up most."""
    of_captions = _hubness(ranking.caption_hits, len(images.caption_texts))
    of_images = _hubness(ranking.image_hits, len(images))
    return [
        {
            "name": "captions (image → text)",
            "hubness": of_captions,
            "expected": of_captions.occurrences.mean(),
            "top": [
                {**_caption(images, item), "occurrences": of_captions.occurrences[item]}
                for item in of_captions.top(_HUBS)
            ],
        },
        {
            "name": "images (text → image)",
            "hubness": of_images,
            "expected": of_images.occurrences.mean(),
            "top": [
                {**_image(images, item, thumbnails), "occurrences": of_images.occurrences[item]}
                for item in of_images.top(_HUBS)
            ],
        },
    ]


def _hubness(hits: Hits | None, item_count: int) -> Hubness:
    if hits is None:
        raise ValueError("the ranking was made without hits")
    return hubness(hits.positions.numpy(), item_count=item_count)


def _misses(
    ranking: Ranking, images: CaptionedImages, thumbnails: Thumbnails
) -> dict[str, list[dict[str, Any]]]:
    """Return the hardest misses of both directions with what is to be shown of each."""
    caption_image = torch.from_numpy(images.caption_image)
    return {
        "text_to_image": [
            {
                "miss": miss,
                "query": _caption(images, miss.query),
                "wanted": _image(images, miss.wanted, thumbnails),
                "first": _image(images, miss.first, thumbnails),
            }
            for miss in hardest_caption_misses(ranking, caption_image, count=_MISSES)
        ],
        "image_to_text": [
            {
                "miss": miss,
                "query": _image(images, miss.query, thumbnails),
                "wanted": _caption(images, miss.wanted),
                "first": _caption(images, miss.first),
            }
            for miss in hardest_image_misses(ranking, caption_image, count=_MISSES)
        ],
    }


def _caption(images: CaptionedImages, caption: int) -> Mapping[str, Any]:
    return {
        "text": images.caption_texts[caption],
        "image_id": images.image_ids[int(images.caption_image[caption])],
        "thumbnail": None,
    }


def _image(images: CaptionedImages, image: int, thumbnails: Thumbnails) -> Mapping[str, Any]:
    return {
        "text": images.captions[image][0],
        "image_id": images.image_ids[image],
        "thumbnail": thumbnails.uri(image),
    }
