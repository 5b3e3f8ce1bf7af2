"""An index build against the sum of its stages, and its peak memory at N and at 4N pictures.

    python -m benchmarks.index_build

- Stages measured alone, in one process and one thread, in CPU-seconds: reading with hashing,
  decoding, thumbnail, pixels, encoding, and writing the gallery. A build that overlaps them
  perfectly takes their sum over the number of cores; the aim is 1.15 times that at most.
- The build is the command `python -m index_builder build`. What it takes for 8 pictures (Python,
  torch, the checkpoint, processes) is told as its start, and taken off before the comparison.
- Memory: the builder's peak and that of its largest reader, each build in a fresh process. Flat
  means that four times the pictures take hardly more; the exact index, which FAISS builds in
  memory, is told beside it, since that part does grow.

Seconds mean something on a quiet machine only; memory does anywhere.
"""

import contextlib
import hashlib
import multiprocessing
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from pydantic import Field

from benchmarks.stopwatch import MIB, in_fresh_process, machine, machine_line
from index_builder.build import build_index
from index_builder.encoding.workers import allowed_core_count
from index_builder.galleries.items import Item
from index_builder.galleries.thumbnails import make_thumbnail
from index_builder.sources import ImageEntry, open_image_source
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model import console
from model.command_line import Command, run_command
from model.config import (
    BackboneConfig,
    FragmentLevelConfig,
    HremConfig,
    ImageEncoderConfig,
    PreprocessorConfig,
    TextEncoderConfig,
)
from model.dual_encoder import load_dual_encoder
from model.hrem import HREM
from model.inputs.captions import CaptionTokenizer
from model.inputs.pictures import open_picture
from model.peak_memory import peak_memory_bytes

MOST_OVER_STAGES = 1.15
MOST_GROWTH_MIB = 64
_SIZES = ((500, 375), (2000, 1500))
_FEW = 8
_LOOK_EVERY_S = 0.05


class IndexBuildBenchmark(Command):
    """Time a build of generated JPEGs and its stages; measure its memory at N and 4N."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.index_build",
        "python -m benchmarks.index_build --pictures 40 --memory-pictures 20 --json",
    )

    pictures: int = Field(1_000, gt=_FEW, description="pictures of each size that are timed")
    memory_pictures: int = Field(
        2_000, ge=8, description="N: pictures of the smaller build; with whole parts"
    )
    batch_size: int = Field(64, ge=1, description="pictures encoded at once")
    embedding_dim: int = Field(256, ge=16, multiple_of=16, description="size of an embedding")
    image_size: int = Field(224, ge=32, description="side of what the encoder reads, in pixels")
    workers: int | None = Field(None, ge=0, description="processes that read; default: one a core")

    def run(self) -> int:
        """Print the figures; 1 if a build takes too long for its stages or its memory grows."""
        found = machine()
        workers = allowed_core_count() if self.workers is None else self.workers
        with tempfile.TemporaryDirectory(prefix="index-build-") as name:
            folder = Path(name)
            checkpoint = _write_checkpoint(folder, self.embedding_dim, self.image_size)
            times = [
                _timed(folder, checkpoint, size, self.pictures, self.batch_size, workers)
                for size in _SIZES
            ]
            peaks = [
                in_fresh_process(_peaks, folder, checkpoint, count, self.batch_size, workers)
                for count in (self.memory_pictures, 4 * self.memory_pictures)
            ]
        growth = peaks[1]["builder_mib"] - peaks[0]["builder_mib"]
        index_growth = 3 * self.memory_pictures * self.embedding_dim * 4 / MIB
        if self.json_output:
            console.result_json(
                {
                    "machine": found,
                    "workers": workers,
                    "builds": times,
                    "memory": peaks,
                    "growth_mib": growth,
                    "growth_of_the_index_mib": index_growth,
                }
            )
        else:
            self._show(found, workers, times, peaks)
            console.result(f"growth {growth:.1f} MiB, of which the index {index_growth:.1f} MiB")
        is_quick = all(line["wall_over_stages"] <= MOST_OVER_STAGES for line in times)
        return 0 if is_quick and growth - index_growth <= MOST_GROWTH_MIB else 1

    def _show(
        self,
        found: dict[str, Any],
        workers: int,
        times: list[dict[str, Any]],
        peaks: list[dict[str, Any]],
    ) -> None:
        console.result(machine_line(found))
        stages = list(times[0]["stages_cpu_s"])
        console.table(
            f"{self.pictures:,} JPEGs · {workers} workers · CPU-seconds of each stage alone",
            ("size", *stages, "sum / cores", "start, s", "build, s", "ratio"),
            [
                (
                    line["size"],
                    *(f"{line['stages_cpu_s'][stage]:.2f}" for stage in stages),
                    f"{line['bound_s']:.2f}",
                    f"{line['start_s']:.2f}",
                    f"{line['wall_s']:.2f}",
                    f"{line['wall_over_stages']:.2f}",
                )
                for line in times
            ],
        )
        console.table(
            "peak memory",
            ("pictures", "builder, MiB", "largest reader, MiB"),
            [
                (f"{p['pictures']:,}", f"{p['builder_mib']:.0f}", f"{p['reader_mib']:.0f}")
                for p in peaks
            ],
        )


def _timed(
    folder: Path,
    checkpoint: Path,
    size: tuple[int, int],
    count: int,
    batch_size: int,
    workers: int,
) -> dict[str, Any]:
    photos = _write_photos(folder / f"photos-{size[0]}", size, count)
    few = _write_photos(folder / f"few-{size[0]}", size, _FEW)
    stages = in_fresh_process(_stage_seconds, folder, checkpoint, photos, batch_size)

    def seconds_of(name: str, images: Path) -> float:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "index_builder",
            "build",
            "--checkpoint",
            checkpoint,
        ]
        settings = {"images": images, "output": folder / f"{name}-{size[0]}", "workers": workers,
                    "batch-size": batch_size}  # fmt: skip
        flags = [str(part) for key, value in settings.items() for part in (f"--{key}", value)]
        started = time.perf_counter()
        subprocess.run([*command, *flags], check=True, capture_output=True)
        return time.perf_counter() - started

    start, wall = seconds_of("few-index", few), seconds_of("index", photos)
    bound = sum(stages.values()) / allowed_core_count()
    return {
        "size": f"{size[0]}x{size[1]}",
        "stages_cpu_s": stages,
        "bound_s": bound,
        "start_s": start,
        "wall_s": wall,
        "wall_over_stages": (wall - start) / (bound * (count - _FEW) / count),
    }


def _stage_seconds(
    folder: Path, checkpoint: Path, photos: Path, batch_size: int
) -> dict[str, float]:
    """Return the CPU-seconds that every stage takes alone, one picture after the other."""
    torch.set_num_threads(1)
    encoder = load_dual_encoder(checkpoint)
    transform = encoder.picture_transform
    assert transform is not None  # the checkpoint above reads pictures
    paths = sorted(photos.iterdir())
    source = open_image_source(photos)
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[..., Any], *given: Any) -> Any:
        started = time.process_time()
        done = work(*given)
        seconds[stage] = seconds.get(stage, 0.0) + time.process_time() - started
        return done

    vectors, thumbnails = [], []
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        entries = [ImageEntry(path.stem, path.name) for path in batch]
        contents = timed("read", lambda some: [source.read(each) for each in some], entries)
        timed("hash", lambda some: [hashlib.sha256(each).digest() for each in some], contents)
        pictures = timed("decode", lambda some: [open_picture(each) for each in some], contents)
        thumbnails += timed("thumbnail", lambda some: [make_thumbnail(p) for p in some], pictures)
        pixels = timed(
            "pixels",
            lambda some: torch.from_numpy(np.stack([transform(each) for each in some])),
            pictures,
        )
        vectors.append(timed("encode", encoder.encode_pixels, pixels).numpy())
    timed("write", lambda: _write_gallery(folder, paths, np.concatenate(vectors), thumbnails))
    return seconds


def _write_gallery(
    folder: Path, paths: list[Path], vectors: np.ndarray, thumbnails: list[bytes]
) -> None:
    record = EncoderRecord("benchmark", "0" * 64, vectors.shape[1], {}, "float32")
    name = f"images-{paths[0].parent.name}"
    with GalleryDraft(folder / f".{name}", "images", record) as draft:
        hashes = [f"{row:064x}" for row in range(len(paths))]
        draft.add_contents(vectors, zip(hashes, thumbnails, strict=True))
        items = (
            Item(id=path.stem, row=row, path=path.name, content_hash=hashes[row])
            for row, path in enumerate(paths)
        )
        draft.add_items(items, np.arange(len(paths)))
        draft.finish(folder / name)


def _peaks(
    folder: Path, checkpoint: Path, count: int, batch_size: int, workers: int
) -> dict[str, Any]:
    photos = _write_photos(folder / f"memory-{count}", (64, 48), count)
    with _ReaderPeak() as reader:
        build_index(
            checkpoint=checkpoint,
            images=photos,
            output=folder / f"memory-index-{count}",
            batch_size=batch_size,
            worker_count=workers,
        )
    return {
        "pictures": count,
        "builder_mib": peak_memory_bytes() / MIB,
        "reader_mib": reader.peak_bytes / MIB,
    }


class _ReaderPeak:
    """Watches this process's children; 0 where the system has no /proc.

    What the system says of children that ended counts the memory of whoever started them.
    """

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "_ReaderPeak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.wait(_LOOK_EVERY_S):
            for child in multiprocessing.active_children():
                with contextlib.suppress(OSError):
                    status = Path(f"/proc/{child.pid}/status").read_text()
                    found = re.search(r"VmHWM:\s+(\d+) kB", status)
                    self.peak_bytes = max(self.peak_bytes, 1024 * int(found[1]) if found else 0)


def _write_photos(folder: Path, size: tuple[int, int], count: int) -> Path:
    """Write JPEGs that differ: smooth, like photos, and no two with the same bytes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(count):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        picture.save(folder / f"{number:07d}.jpg", quality=90)
    return folder


def _write_checkpoint(folder: Path, embedding_dim: int, image_size: int) -> Path:
    """Write a small network with random weights; how well it encodes does not matter here."""
    level = FragmentLevelConfig(head_count=16)
    tokenizer = CaptionTokenizer.from_captions(["a picture"], min_count=1, max_word_count=8)
    backbone = {
        "model_type": "resnet",
        "embedding_size": 16,
        "hidden_sizes": [16, 32],
        "depths": [1, 1],
        "layer_type": "basic",
    }
    config = HremConfig(
        embedding_dim=embedding_dim,
        image=ImageEncoderConfig(
            fragments="grid",
            region_dim=32,
            backbone=BackboneConfig(architecture=backbone, grid_size=4),
            fragment_level=level,
        ),
        text=TextEncoderConfig(
            kind="bigru",
            word_dim=8,
            vocabulary_size=tokenizer.vocabulary_size,
            max_word_count=8,
            fragment_level=level,
        ),
        preprocessor=PreprocessorConfig(image_size=image_size),
        tokenizer="words",
    )
    torch.manual_seed(0)
    HREM(config, tokenizer).eval().save_pretrained(folder / "checkpoint")
    return folder / "checkpoint"


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.index_build", IndexBuildBenchmark))
