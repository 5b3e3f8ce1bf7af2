"""Filters over made-up metadata and vectors: time of a mask, time and recall of a filtered search.

    python -m benchmarks.filters
    python -m benchmarks.filters --count 1000000 --kinds ivf

The metadata of a row: `drawn`, an integer whose first values are any share of the rows; `score`, a
number; `kind`, one of 100 texts of very unequal frequency; `tags`, up to three of 1,000 texts; and
a caption of words that are as unequal. A mask is timed without those that a gallery keeps. A search
is one query for ten hits with a mask that is there; its recall is against brute force over the rows
that the filter fits. Full text is timed as a search for ten captions.
"""

import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from benchmarks.made_up_rows import LATENT_DIM, made_up_blocks, made_up_rows
from benchmarks.stopwatch import MIB, in_fresh_process, machine, machine_line, timed_rounds
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import NamedKind
from index_builder.lookups.column_store import ColumnStore
from index_builder.lookups.filters import And, Comparison, Filter, Not, Or, positive
from index_builder.lookups.lookup_files import write_lookups
from index_builder.vector_index import (
    IndexRequest,
    RowMask,
    TuningQueries,
    exact_scores,
)
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model import console
from model.command_line import Command, Names, run_command

_SHARES = (0.0001, 0.01, 0.5)
_ROUNDS = 15
_WORDS = ("a", "man", "in", "red", "dog", "runs", "over", "grass", "with", "two", "boats")


class FiltersBenchmark(Command):
    """Build galleries with metadata, and measure masks, filtered searches and full text."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.filters",
        "python -m benchmarks.filters --count 1000000 --kinds ivf",
    )

    count: int = Field(100_000, ge=10_000, description="rows")
    dim: int = Field(64, ge=LATENT_DIM, description="size of a vector")
    kinds: Names = Field(("exact", "hnsw", "ivf"), description="kinds of vector index")
    queries: int = Field(50, ge=4, description="held-out queries of each measured recall")
    folder: Path | None = Field(None, description="where files go; default: a temporary folder")

    def run(self) -> int:
        """Print what filters cost and what searches with them find."""
        found = machine()
        lines = []
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            for kind in self.kinds:
                console.say(f"building {kind}, {self.count:,} rows")
                lines.append(in_fresh_process(measure_kind, kind, Path(name), self.model_dump()))
        if self.json_output:
            console.result_json(
                {"machine": found, "settings": self.model_dump(mode="json"), "kinds": lines}
            )
        else:
            self._show(found, lines)
        return 0

    def _show(self, found: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        console.result(machine_line(found))
        first = lines[0]
        console.table(
            f"{self.count:,} rows · columns.sqlite {first['columns_mib']:,.1f} MiB in "
            f"{first['columns_s']:.1f} s · words.sqlite {first['words_mib']:,.1f} MiB in "
            f"{first['words_s']:.1f} s",
            ("filter", "rows", "mask, ms"),
            [
                (row["filter"], f"{row['rows']:,}", f"{row['mask_ms']:.2f}")
                for row in first["masks"]
            ],
        )
        console.table(
            "full text, ten captions",
            ("text", "captions with a word of it", "ms"),
            [
                (row["text"], f"{row['rows']:,}", f"{row['search_ms']:.2f}")
                for row in first["texts"]
            ],
        )
        console.table(
            f"{self.count:,} × {self.dim} · one query, ten hits, the mask is there",
            ("kind", "rows that fit", "search, ms", "recall@10", "manifest", "pages full"),
            [
                (line["kind"], f"{row['rows']:,}", f"{row['search_ms']:.2f}",
                 f"{row['recall_at_10']:.4f}", f"{line['recall_at_10']:.4f}",
                 "yes" if row["is_full"] else "NO")
                for line in lines
                for row in line["searches"]
            ],
        )  # fmt: skip


def measure_kind(kind: NamedKind, folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Build a gallery of one kind and measure it; call it in a fresh process."""
    count, dim = settings["count"], settings["dim"]
    held_out = made_up_rows("realistic", 500 + settings["queries"], dim, seed=0)
    written = _write_gallery(folder, kind, count, dim, TuningQueries(held_out[:500], "held-out"))
    gallery = Gallery.open(written)
    columns_s, words_s = _lookups_s(gallery)
    return {
        "kind": kind,
        "recall_at_10": gallery.manifest.index.recall_at_10,
        "columns_mib": gallery.manifest.files["columns.sqlite"].size_bytes / MIB,
        "words_mib": gallery.manifest.files["words.sqlite"].size_bytes / MIB,
        "columns_s": columns_s,
        "words_s": words_s,
        "masks": [_mask_line(gallery, *named) for named in _filters(count).items()],
        "texts": [_text_line(gallery, text) for text in ("boats", "two dogs", " ".join(_WORDS))],
        "searches": [_search_line(gallery, share, held_out[500:]) for share in _SHARES],
    }


def _filters(count: int) -> dict[str, Filter]:
    half = Comparison("drawn", "lt", count // 2)
    return {
        "half of the integers": half,
        "1 % of the integers": Comparison("drawn", "lt", count // 100),
        "0.01 % of the integers": Comparison("drawn", "lt", count // 10_000),
        "numbers in a range": And((Comparison("score", "gte", -0.5),
                                   Comparison("score", "lt", 0.5))),
        "the commonest text": Comparison("kind", "eq", "kind 0"),
        "not the commonest text": Comparison("kind", "ne", "kind 0"),
        "any of three tags": Comparison("tags", "in", ("tag 1", "tag 2", "tag 3")),
        "and, or, not": And((half, Or((Comparison("kind", "eq", "kind 3"),
                                       Not(Comparison("tags", "eq", "tag 0")))))),
        "64 comparisons": Or(tuple(Comparison("drawn", "gte", n) for n in range(64))),
    }  # fmt: skip


def _write_gallery(
    folder: Path, kind: NamedKind, count: int, dim: int, queries: TuningQueries
) -> Path:
    encoder = EncoderRecord("made up", "0" * 64, dim, {}, "float32")
    drawn = np.random.default_rng(2).permutation(count)
    name = f"captions-{kind}"
    with GalleryDraft(folder / f".draft-{name}", "captions", encoder) as draft:
        for start, vectors in made_up_blocks("realistic", count, dim):
            draft.add_contents(vectors)
            rows = np.arange(start, start + len(vectors))
            draft.add_items(_made_up_items(start, drawn[rows]), rows)
        return draft.finish(
            folder / name, index_kind=kind, index=IndexRequest(kind=kind), queries=queries
        )


def _made_up_items(start: int, drawn: np.ndarray) -> Iterator[Item]:
    random = np.random.default_rng(start)
    kinds = (random.zipf(1.3, len(drawn)) - 1) % 100
    tags = (random.zipf(1.2, (len(drawn), 3)) - 1) % 1000
    scores = random.standard_normal(len(drawn))
    words = (random.zipf(1.3, (len(drawn), 10)) - 1) % 5000
    for place, number in enumerate(drawn):
        metadata: dict[str, Any] = {
            "drawn": int(number),
            "score": float(scores[place]),
            "kind": f"kind {kinds[place]}",
        }
        if number % 10:  # a tenth has none
            metadata["tags"] = [f"tag {tag}" for tag in tags[place]]
        spoken = (_WORDS[word] if word < len(_WORDS) else f"word{word}" for word in words[place])
        row = start + place
        yield Item(f"r{row}", row, caption=" ".join(spoken), metadata=metadata)


def _lookups_s(gallery: Gallery) -> tuple[float, float]:
    """Return the seconds that making each of the two files takes."""
    seconds = []
    with tempfile.TemporaryDirectory(dir=gallery.folder.parent) as name:
        for file in ("columns.sqlite", "words.sqlite"):
            started = time.perf_counter()
            write_lookups(
                Path(name),
                (file,),
                items_path=gallery.folder / "items.sqlite",
                columns=gallery.manifest.columns,
            )
            seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


def _mask_line(gallery: Gallery, name: str, wanted: Filter) -> dict[str, Any]:
    form = positive(wanted)
    columns = ColumnStore(gallery.folder / "columns.sqlite", gallery.row_count)

    def make() -> RowMask:
        return RowMask(columns.matching(form), gallery.row_count)

    line = {"filter": name, "rows": make().count, "mask_ms": _median_ms(make)}
    columns.close()
    return line


def _text_line(gallery: Gallery, text: str) -> dict[str, Any]:
    found = gallery.captions_matching(text, gallery.row_count)
    search_ms = _median_ms(lambda: gallery.captions_matching(text, 10))
    return {"text": text, "rows": len(found), "search_ms": search_ms}


def _search_line(gallery: Gallery, share: float, queries: np.ndarray) -> dict[str, Any]:
    mask = gallery.matching(Comparison("drawn", "lt", round(share * gallery.row_count)))
    assert mask is not None
    found = gallery.search(queries, 10, allowed=mask)
    kept, is_full = [], True
    for query, hits in zip(queries, found, strict=True):
        rows = mask.rows
        scores = exact_scores(query, gallery.index.vectors, rows)
        best = set(rows[np.lexsort((rows, -scores))[:10]].tolist())
        kept.append(len({hit.row for hit in hits} & best) / len(best))
        is_full &= len(hits) == len(best) and all(mask.allowed[hit.row] for hit in hits)
    turns = itertools.cycle(queries)
    return {
        "rows": mask.count,
        "recall_at_10": float(np.mean(kept)),
        "is_full": is_full,
        "search_ms": _median_ms(lambda: gallery.search(next(turns)[None], 10, allowed=mask)),
    }


def _median_ms(run: Callable[[], object]) -> float:
    """Return the median of some runs, after one that is not timed."""
    return 1000 * timed_rounds({"run": run}, rounds=_ROUNDS).median("run")


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.filters", FiltersBenchmark))
