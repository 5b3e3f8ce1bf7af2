"""A query over N images: one embedding product against scoring each by its regions.

    python -m benchmarks.query

The authors' claim of efficiency: with one embedding an image, a query costs one product of N rows;
a method that compares regions with words at inference has all regions of all images to go through,
and to keep. The second is given its cheapest form: unit rows made beforehand, one product, the
best region of each word, the mean over words; no transform, no attention. Encoding the query, the
same for both, is left out.
"""

import sys
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from benchmarks.stopwatch import MIB, machine, machine_line, timed_rounds
from model import console
from model.command_line import Command, run_command


class QueryBenchmark(Command):
    """Time one text query over N images by embeddings and by regions and words."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.query",
        "python -m benchmarks.query --image-counts '[1000]' --rounds 50 --json",
    )

    image_counts: tuple[int, ...] = Field((1_000, 10_000), description="images to search")
    regions: int = Field(36, ge=1, description="regions of an image")
    words: int = Field(15, ge=1, description="words of the query")
    embedding_dim: int = Field(1024, ge=1, description="size of an embedding")
    hit_count: int = Field(10, ge=1, description="hits of a query")
    rounds: int = Field(20, ge=1, description="how often each side is timed, in turns")

    def run(self) -> int:
        """Print seconds, their ratio and what each side has to keep."""
        found = machine()
        lines = [self._measure(image_count) for image_count in self.image_counts]
        if self.json_output:
            console.result_json({"machine": found, "settings": self.model_dump(), "queries": lines})
        else:
            self._show(found, lines)
        return 0

    def _measure(self, image_count: int) -> dict[str, Any]:
        console.say(f"timing  {image_count:,} images")
        generator = torch.Generator().manual_seed(0)

        def unit_rows(*shape: int) -> Tensor:
            rows = torch.randn(*shape, self.embedding_dim, generator=generator)
            return rows.div_(rows.norm(dim=-1, keepdim=True))

        embeddings, query = unit_rows(image_count), unit_rows()
        regions, words = unit_rows(image_count, self.regions), unit_rows(self.words)
        hit_count = min(self.hit_count, image_count)
        timed = timed_rounds(
            {
                "embedding": lambda: best_by_embedding(embeddings, query, hit_count=hit_count),
                "fragments": lambda: best_by_fragments(regions, words, hit_count=hit_count),
            },
            rounds=self.rounds,
        )
        return {
            "images": image_count,
            "embedding_s": timed.median("embedding"),
            "fragments_s": timed.median("fragments"),
            "fragments_over_embedding": timed.ratio("fragments", "embedding"),
            "embedding_kept_mib": embeddings.nbytes / MIB,
            "fragments_kept_mib": regions.nbytes / MIB,
        }

    def _show(self, found: dict[str, Any], lines: list[dict[str, Any]]) -> None:
        """Print a table for people."""
        console.result(machine_line(found))
        console.table(
            f"one query · {self.regions} regions · {self.words} words · {self.embedding_dim}-d · "
            "float32",
            ("images", "embedding, ms", "regions × words, ms", "ratio", "kept, MiB", "kept, MiB"),
            [
                (
                    f"{line['images']:,}",
                    f"{1000 * line['embedding_s']:.2f}",
                    f"{1000 * line['fragments_s']:.1f}",
                    f"{line['fragments_over_embedding']:.0f}",
                    f"{line['embedding_kept_mib']:.1f}",
                    f"{line['fragments_kept_mib']:,.0f}",
                )
                for line in lines
            ],
        )


def best_by_embedding(
    embeddings: Float[Tensor, "image dim"], query: Float[Tensor, "dim"], *, hit_count: int
) -> Int[Tensor, "hit"]:
    """Return the rows of the best images; unit rows."""
    return (embeddings @ query).topk(hit_count).indices


def best_by_fragments(
    regions: Float[Tensor, "image region dim"],
    words: Float[Tensor, "word dim"],
    *,
    hit_count: int,
) -> Int[Tensor, "hit"]:
    """Return the rows of the best images; unit rows."""
    return score_fragments(regions, words).topk(hit_count).indices


def score_fragments(
    regions: Float[Tensor, "image region dim"], words: Float[Tensor, "word dim"]
) -> Float[Tensor, "image"]:
    """Return p_TI without the transform: mean over words of the best region's cosine."""
    image_count, region_count, dim = regions.shape
    similarity = regions.view(-1, dim) @ words.T
    return similarity.view(image_count, region_count, len(words)).amax(dim=1).mean(dim=1)


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.query", QueryBenchmark))
