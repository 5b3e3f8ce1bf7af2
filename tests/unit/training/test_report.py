"""The report page: stands alone, escapes what comes from data, shows the figures it was given."""

from dataclasses import replace
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import torch

from model.data.captioned_images import CaptionedImages
from model.data.jsonl import load_jsonl
from model.encoders.pooling import unit_length
from model.metrics import exact_scores, report_from_ranks
from model.ranking import rank_retrieval
from model.training.report.charts import Line, bar_chart, line_chart
from model.training.report.misses import hardest_caption_misses, hardest_image_misses
from model.training.report.page import HIT_COUNT, Subject, render_report
from model.training.report.published import published_table
from model.training.report.thumbnails import LONGEST_SIDE, Thumbnails
from model.training.stored_ranks import query_facts
from tests.worlds import write_world

HOSTILE = '<script>alert(1)</script>"><img src=http://x.example/ onerror=alert(2)>'


class Page(HTMLParser):
    """Tags with their attributes, and the text of the cells of every table row."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._is_in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_in_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_in_cell:
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> CaptionedImages:
    folder = write_world(tmp_path_factory.mktemp("world"), image_count=24)
    return load_jsonl(folder / "images", folder / "captions.jsonl")


def rendered(images: CaptionedImages, **more: object) -> str:
    torch.manual_seed(1)
    pictures = unit_length(torch.randn(len(images), 6))
    captions = unit_length(torch.randn(len(images.caption_texts), 6))
    ranking = rank_retrieval(
        pictures, captions, torch.from_numpy(images.caption_image), hit_count=HIT_COUNT
    )
    report = report_from_ranks(ranking.image_to_text, ranking.text_to_image)
    subject = Subject("world all", [("runs/a", "0" * 64)], images, **more)
    return render_report(subject, report, ranking, query_facts(images, pictures, None))


def test_the_page_asks_nobody_and_describes_every_picture_and_chart(
    images: CaptionedImages,
) -> None:
    tags = Page(rendered(images)).tags
    names = {name for name, _ in tags}
    assert not names & {"script", "iframe", "object", "embed"}
    asked = [attrs[key] for _, attrs in tags for key in ("src", "href") if key in attrs]
    assert asked and all(str(address).startswith("data:") for address in asked)
    assert all(attrs["alt"] for name, attrs in tags if name == "img")
    charts = [attrs for name, attrs in tags if name == "svg"]
    assert len(charts) == 6
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in charts)
    assert len([name for name, _ in tags if name == "table"]) >= len(charts)


def test_what_comes_from_data_is_text_and_never_markup(images: CaptionedImages) -> None:
    captions = tuple((HOSTILE, *texts[1:]) for texts in images.captions)
    html = rendered(replace(images, captions=captions, image_ids=(HOSTILE,) * len(images)))
    page = Page(html)
    assert "script" not in {name for name, _ in page.tags}
    assert not any("onerror" in attrs for _, attrs in page.tags)
    assert "&lt;script&gt;alert(1)" in html


def test_every_quarter_tells_its_count_and_every_rank_is_counted(images: CaptionedImages) -> None:
    rows = Page(rendered(images)).rows

    def counted(after: str) -> int:
        start = next(i for i, row in enumerate(rows) if row[0].endswith(after))
        cells = [row[1] for row in takewhile(lambda row: row[1].isdigit(), rows[start + 1 :])]
        return sum(map(int, cells))

    assert counted("the rarest content word") == 120
    assert counted("the nearest image") == 120
    assert counted("rank") == 24  # the first histogram, image → text


def test_region_data_have_no_thumbnails_but_names(images: CaptionedImages) -> None:
    html = rendered(replace(images, image_paths=()))
    assert "img" not in {name for name, _ in Page(html).tags}
    named = [
        f"{id_}: “{texts[0]}”" in html
        for id_, texts in zip(images.image_ids, images.captions, strict=True)
    ]
    assert any(named)


def test_published_figures_stand_beside_ours_only_where_the_data_are_theirs(
    images: CaptionedImages, tmp_path: Path
) -> None:
    scan = tmp_path / "f30k_precomp"
    table = published_table(scan, split="test", image_count=1000)
    assert table is not None
    assert ["BERT, Full*", "–", "–", "524.2"] in Page(rendered(images, published=table)).rows
    assert "524.2" not in rendered(images)
    assert published_table(scan, split="test", image_count=999) is None
    assert published_table(scan, split="dev", image_count=1000) is None
    assert published_table(tmp_path, split="test", image_count=1000) is None
    (tmp_path / "dataset_coco.json").touch()
    fives = published_table(tmp_path, split="testall", image_count=5000)
    ones = published_table(tmp_path, split="testall", image_count=5000, fold_count=5)
    assert fives is not None and ones is not None
    assert {row.rsum for row in fives.rows} & {450.9}
    assert {row.rsum for row in ones.rows} & {534.6}


def test_thumbnails_are_small_and_stop_at_the_budget(images: CaptionedImages) -> None:
    import base64
    import io

    from PIL import Image

    uri = Thumbnails(images.image_paths).uri(0)
    assert uri is not None
    kind, content = uri.split(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as small:
        assert max(small.size) <= LONGEST_SIDE
    tight = Thumbnails(images.image_paths, max_bytes=2 * len(uri))
    assert [tight.uri(0) is None for _ in range(3)] == [False, False, True]


def test_the_hardest_misses_are_those_a_slow_look_finds() -> None:
    torch.manual_seed(3)
    pictures, captions = unit_length(torch.randn(9, 4)), unit_length(torch.randn(20, 4))
    owner = torch.cat([torch.arange(9), torch.randint(9, (11,))])
    scores = exact_scores(pictures, captions)
    ranking = rank_retrieval(pictures, captions, owner, hit_count=HIT_COUNT)

    misses = hardest_caption_misses(ranking, owner, count=5)
    slow = {
        j: sum(float(scores[i, j]) >= float(scores[owner[j], j]) for i in range(9) if i != owner[j])
        for j in range(20)
    }
    assert [miss.wanted_rank for miss in misses] == [r + 1 for r in sorted(slow.values())[:-6:-1]]
    for miss in misses:
        assert miss.wanted == owner[miss.query] and miss.wanted_rank == slow[miss.query] + 1
        others = [i for i in range(9) if i != miss.wanted]
        assert miss.first == max(others, key=lambda i: float(scores[i, miss.query]))
        assert miss.first_score == float(scores[miss.first, miss.query])

    for miss in hardest_image_misses(ranking, owner, count=4):
        own = [j for j in range(20) if owner[j] == miss.query]
        assert miss.wanted == max(own, key=lambda j: float(scores[miss.query, j]))
        others = [j for j in range(20) if j not in own]
        assert miss.first == max(others, key=lambda j: float(scores[miss.query, j]))
        assert miss.wanted_rank > 1 and miss.first_score >= miss.wanted_score


def test_a_perfect_model_has_no_misses() -> None:
    same = torch.eye(6)
    ranking = rank_retrieval(same, same, torch.arange(6), hit_count=HIT_COUNT)
    assert hardest_caption_misses(ranking, torch.arange(6), count=5) == []
    assert hardest_image_misses(ranking, torch.arange(6), count=5) == []


def test_charts_escape_their_labels_and_draw_values_to_scale() -> None:
    drawn = bar_chart(
        "a & b", [("<b>", 1.0), ("two", 2.0), ("none", 0.0)], x_label="x", y_label="y"
    )
    tags = Page(str(drawn)).tags
    assert "b" not in {name for name, _ in tags}
    heights = [float(str(attrs["height"])) for name, attrs in tags if name == "rect"]
    np.testing.assert_allclose(heights[1], 2 * heights[0], atol=0.11)  # written to 0.1
    assert heights[2] == 0
    lines = line_chart(
        "t",
        [Line("<i>", [(1, 0), (10, 50), (100, 100)])],
        x_label="x",
        y_label="y",
        x_ticks=(1, 100),
    )
    (points,) = [attrs["points"] for name, attrs in Page(str(lines)).tags if name == "polyline"]
    places = np.array([point.split(",") for point in str(points).split()], dtype=float)
    # The middle of a logarithmic axis, and of the percentages.
    np.testing.assert_allclose(places[1], (places[0] + places[2]) / 2, atol=0.11)


def test_what_stood_first_is_never_a_right_answer_even_in_a_tie() -> None:
    pictures = unit_length(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    captions = pictures[[0, 0, 1, 2]]
    owner = torch.tensor([0, 0, 1, 2])
    ranking = rank_retrieval(pictures, captions, owner, hit_count=HIT_COUNT)
    (miss, *_) = hardest_caption_misses(ranking, owner, count=1)
    assert (miss.query, miss.wanted, miss.wanted_rank, miss.first) == (0, 0, 2, 1)
    (miss, *_) = hardest_image_misses(ranking, owner, count=2)[1:]
    assert (miss.query, miss.wanted_rank, miss.first) == (0, 2, 2)
