"""Kinds of vector index over made-up vectors: time and memory to build, recall, queries a second.

    python -m benchmarks.index_kinds
    python -m benchmarks.index_kinds --count 1000000 --dim 1024 --memory 24GiB

Each kind is built in a process of its own from a memory-mapped file, tuned on one half of held-out
queries and measured on the other. How the vectors are distributed: `made_up_rows.py`.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import ByteSize, Field

from benchmarks.made_up_rows import LATENT_DIM, Distribution, made_up_blocks, made_up_rows
from benchmarks.stopwatch import MIB, in_fresh_process, machine, machine_line
from index_builder.vector_index import (
    IndexRequest,
    RowFile,
    Rows,
    TuningQueries,
    VectorIndex,
    build_vector_index,
)
from index_builder.vector_index.product import GatheredRows
from index_builder.vector_index.recall import recall_at_10
from index_builder.vector_index.reranked import RerankedIndex
from index_builder.vector_index.row_mask import RowMask
from model import console
from model.command_line import Command, Names, run_command
from model.peak_memory import peak_memory_bytes

_SHARES = (0.5, 0.2, 0.1, 0.05, 0.02)


class IndexKindsBenchmark(Command):
    """Build every kind of vector index over made-up vectors and measure it."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.index_kinds",
        "python -m benchmarks.index_kinds --count 1000000 --dim 1024 --memory 24GiB",
        "python -m benchmarks.index_kinds --kinds ivf --filters",
    )

    count: int = Field(20_000, ge=100, description="vectors")
    dim: int = Field(128, ge=LATENT_DIM, description="size of a vector")
    kinds: Names = Field(
        ("exact", "hnsw", "ivf"),
        description="kinds, or FAISS factory strings with commas in a JSON list",
    )
    distributions: tuple[Distribution, ...] = Field(
        ("clustered", "realistic"), description="how the vectors are distributed"
    )
    recall: float = Field(0.95, gt=0, le=1, description="recall@10 to tune to")
    memory: ByteSize | None = Field(None, description="refuse kinds that would take more")
    queries: int = Field(400, ge=4, description="held-out queries")
    filters: bool = Field(False, description="time filtered searches and exact ones as well")
    folder: Path | None = Field(None, description="where files go; default: a temporary folder")

    def run(self) -> int:
        """Print what every kind takes and gives."""
        found = machine()
        lines = []
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            for distribution in self.distributions:
                path = Path(name) / distribution
                console.say(f"writing  {self.count:,} {distribution} vectors")
                write_rows(path, distribution, self.count, self.dim)
                for kind in self.kinds:
                    console.say(f"building {kind}")
                    line = in_fresh_process(
                        measure_kind, kind, distribution, path, self.model_dump()
                    )
                    lines.append({"distribution": distribution, **line})
        if self.json_output:
            console.result_json(
                {"machine": found, "settings": self.model_dump(mode="json"), "kinds": lines}
            )
        else:
            self._show(found, lines)
        return 0

    def _show(self, found: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        """Print tables for people."""
        console.result(machine_line(found))
        console.table(
            f"{self.count:,} × {self.dim} · recall@10 asked for {self.recall}",
            ("vectors", "kind", "build, s", "peak, MiB", "file, MiB", "recall@10", "batch 1, q/s",
             "batch 64, q/s", "parameters"),
            [
                (
                    line["distribution"],
                    line["factory"],
                    f"{line['build_s']:.1f}",
                    f"{line['build_peak_mib']:,.0f}",
                    f"{line['size_mib']:,.1f}",
                    f"{line['recall_at_10']:.4f}",
                    f"{line['batch_1_qps']:,.0f}",
                    f"{line['batch_64_qps']:,.0f}",
                    " ".join(f"{key}={value}" for key, value in line["parameters"].items()),
                )
                for line in lines
            ],
        )  # fmt: skip
        if self.filters:
            console.table(
                "filtered search, one query, CPU time of all threads",
                ("vectors", "kind", "allowed", "by the kind, CPU-ms", "exactly, CPU-ms"),
                [
                    (line["distribution"], line["factory"], f"{row['allowed']:,}",
                     f"{row['kind_cpu_ms']:.2f}", f"{row['exact_cpu_ms']:.2f}")
                    for line in lines
                    for row in line["filters"]
                ],
            )  # fmt: skip


def write_rows(path: Path, distribution: Distribution, count: int, dim: int) -> None:
    """Write (count, dim) unit vectors in float32, block by block."""
    with path.open("wb") as file:
        for _, rows in made_up_blocks(distribution, count, dim):
            file.write(rows.tobytes())


def measure_kind(
    kind: str, distribution: Distribution, path: Path, settings: dict[str, Any]
) -> dict[str, Any]:
    """Build one kind and return what it took and what it gives; call it in a fresh process."""
    count, dim, recall = settings["count"], settings["dim"], settings["recall"]
    is_kind = kind in ("exact", "hnsw", "ivf")
    request = IndexRequest(
        kind if is_kind else None,  # type: ignore[arg-type]
        recall,
        settings["memory"],
        None if is_kind else kind,
    )
    held_out = made_up_rows(distribution, settings["queries"], dim, seed=0)
    tuned_with, measured_with = held_out[::2], held_out[1::2]
    with tempfile.TemporaryDirectory(dir=path.parent) as name:
        before, started = peak_memory_bytes(), time.perf_counter()
        built = build_vector_index(
            request.kind_for(count, dim),
            RowFile(path, "<f4", (count, dim)),
            folder=Path(name),
            queries=TuningQueries(tuned_with, "held-out rows of the same distribution"),
            target_recall=recall,
            factory=request.factory,
        )
        build_s = time.perf_counter() - started
        peak = peak_memory_bytes() - before
        index = built.index
        return {
            "kind": kind,
            "factory": built.record.factory,
            "build_s": build_s,
            "build_peak_mib": peak / MIB,
            "size_mib": built.record.size_bytes / MIB,
            "parameters": dict(index.search_parameters),
            "recall_at_10": recall_at_10(index, measured_with),
            "batch_1_qps": 1000 / built.record.latency.batch_1_ms,
            "batch_64_qps": 64_000 / built.record.latency.batch_64_ms,
            "filters": _filtered(index, measured_with) if settings["filters"] else [],
        }


def _filtered(index: VectorIndex, queries: Rows) -> list[dict[str, Any]]:
    """Return the time of a filtered search by the kind and exactly, for thinner and thinner masks.

    Where the second is less, `reranked.py` should search exactly.
    """
    lines: list[dict[str, Any]] = []
    if not isinstance(index, RerankedIndex):
        return lines
    for share in _SHARES:
        mask = RowMask(np.random.default_rng(0).random(index.count) < share, index.count)
        exact = GatheredRows(index.vectors, mask.rows)
        effort = 1 if index.effort is None else index.search_parameters[index.effort.name]
        lines.append(
            {
                "allowed": mask.count,
                "kind_cpu_ms": _median_cpu_ms(
                    partial(index.propose, wanted_count=100, mask=mask, effort=effort), queries
                ),
                "exact_cpu_ms": _median_cpu_ms(partial(exact.best, wanted_count=18), queries),
            }
        )
    return lines


def _median_cpu_ms(search: Callable[[Rows], object], queries: Rows) -> float:
    seconds = []
    for place in range(min(30, len(queries))):
        started = time.process_time()
        search(queries[place : place + 1])
        seconds.append(time.process_time() - started)
    return 1000 * float(np.median(seconds))


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.index_kinds", IndexKindsBenchmark))
