"""Evaluation of COCO's size against the field's loops: peak memory, and seconds as a ratio.

    python -m benchmarks.evaluation

- Ours: `rank_retrieval`, scores in float64, with and without each query's first hits.
- The field's loops: the whole similarity matrix in float32, then one argsort and one search a
  query. They are timed on a subsample of the images with their captions and scaled up; the matrix
  product is timed whole and added to them. Their ranks are float32's, so that few may differ.

Each side runs in a process of its own, so that neither's memory is counted for the other. Seconds
mean something on a quiet machine only; memory does anywhere.
"""

import sys
import time
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from benchmarks.stopwatch import in_fresh_process
from model import console
from model.command_line import Command, run_command
from model.peak_memory import peak_memory_bytes
from model.ranking import rank_retrieval

GIB = 2**30
MOST_BYTES_OVER_EMBEDDINGS = 2 * GIB


class EvaluationBenchmark(Command):
    """Rank random embeddings of a data set's size, ours and by argsort loops."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.evaluation",
        "python -m benchmarks.evaluation --images 1000 --loop-images 50 --json",
    )

    images: int = Field(5_000, ge=2, description="Images.")
    captions_per_image: int = Field(5, ge=1, description="Captions of each image.")
    embedding_dim: int = Field(1_024, ge=1, description="Size of an embedding.")
    hit_count: int = Field(10, ge=1, description="First hits kept of each query.")
    loop_images: int = Field(100, ge=1, description="Images that the loops are timed on.")

    def run(self) -> int:
        """Measure and print; 1 if ranks and hits take 2 GiB or more over the embeddings."""
        sizes = (self.images, self.captions_per_image, self.embedding_dim)
        ranks = in_fresh_process(_measure_ranking, *sizes, 0)
        hits = in_fresh_process(_measure_ranking, *sizes, self.hit_count)
        loops = in_fresh_process(_measure_loops, *sizes, min(self.loop_images, self.images))
        looped = loops["loop_ranks"]
        equal = [mine == theirs for mine, theirs in zip(ranks["ranks"], looped, strict=False)]
        figures = {
            "threads": torch.get_num_threads(),
            "gib_over_embeddings": ranks["bytes_over_embeddings"] / GIB,
            "gib_over_embeddings_with_hits": hits["bytes_over_embeddings"] / GIB,
            "gib_over_embeddings_of_the_loops": loops["bytes_over_embeddings"] / GIB,
            "seconds": ranks["seconds"],
            "seconds_with_hits": hits["seconds"],
            "seconds_of_the_loops": loops["seconds"],
            "loops_over_ours": loops["seconds"] / ranks["seconds"],
            "equal_ranks_fraction": sum(equal) / len(equal),
        }
        if self.json_output:
            console.result_json(figures)
        else:
            captions = self.images * self.captions_per_image
            console.table(
                f"{self.images:,} images · {captions:,} captions · {self.embedding_dim}-d · loops "
                f"timed on {len(looped):,} images",
                ("what", "measured"),
                [(name.replace("_", " "), f"{value:.3g}") for name, value in figures.items()],
            )
        return 0 if hits["bytes_over_embeddings"] < MOST_BYTES_OVER_EMBEDDINGS else 1


def _measure_ranking(
    images: int, captions_per_image: int, dim: int, hit_count: int
) -> dict[str, Any]:
    image_embeddings, caption_embeddings, owner = _embeddings(images, captions_per_image, dim)
    before = peak_memory_bytes()
    started = time.perf_counter()
    ranking = rank_retrieval(image_embeddings, caption_embeddings, owner, hit_count=hit_count)
    return {
        "seconds": time.perf_counter() - started,
        "bytes_over_embeddings": peak_memory_bytes() - before,
        "ranks": [
            [rank, *ranking.text_to_image[owner == image].tolist()]
            for image, rank in enumerate(ranking.image_to_text.tolist())
        ],
    }


def _measure_loops(
    images: int, captions_per_image: int, dim: int, loop_images: int
) -> dict[str, Any]:
    image_embeddings, caption_embeddings, _ = _embeddings(images, captions_per_image, dim)
    before = peak_memory_bytes()
    started = time.perf_counter()
    similarity = image_embeddings.numpy() @ caption_embeddings.numpy().T
    product_seconds = time.perf_counter() - started
    started = time.perf_counter()
    ranks = []
    for image in range(loop_images):
        own = range(image * captions_per_image, (image + 1) * captions_per_image)
        order = np.argsort(similarity[image])[::-1]
        best = min(int(np.where(order == caption)[0][0]) for caption in own)
        of_captions = []
        for caption in own:
            order = np.argsort(similarity[:, caption])[::-1]
            of_captions.append(int(np.where(order == image)[0][0]))
        ranks.append([best, *of_captions])
    loop_seconds = time.perf_counter() - started
    return {
        "seconds": product_seconds + loop_seconds * images / loop_images,
        "bytes_over_embeddings": peak_memory_bytes() - before,
        "loop_ranks": ranks,
    }


def _embeddings(
    images: int, captions_per_image: int, dim: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return unit rows; a caption is its image and noise: ranks are neither 0 nor chance."""
    generator = torch.Generator().manual_seed(0)
    image_embeddings = torch.randn(images, dim, generator=generator)
    owner = torch.arange(images).repeat_interleave(captions_per_image)
    captions = torch.randn(len(owner), dim, generator=generator)
    captions.mul_(8).view(images, captions_per_image, dim).add_(image_embeddings[:, None])
    for rows in (image_embeddings, captions):
        rows.div_(torch.linalg.vector_norm(rows, dim=1, keepdim=True))
    return image_embeddings, captions, owner


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.evaluation", EvaluationBenchmark))
