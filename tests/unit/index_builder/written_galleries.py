"""Small real galleries of random unit vectors, for tests that need no network."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.index_folder.versions import (
    CheckpointRecord,
    GalleryRecord,
    IndexFolder,
    VersionRecord,
)
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model.identifiers import sha256_of_file

FINGERPRINT = "ab" * 32


def unit_rows(count: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def brute_force(query: np.ndarray, vectors: np.ndarray) -> list[tuple[int, float]]:
    """All rows with their scores, best first, ties by row: the law that exact search obeys."""
    scores = [
        np.float32(sum(float(a) * float(b) for a, b in zip(query, v, strict=True))) for v in vectors
    ]
    return [
        (row, float(scores[row]))
        for row in sorted(range(len(vectors)), key=lambda r: (-scores[r], r))
    ]


def caption_items(count: int, **columns: Any) -> list[Item]:
    return [
        Item(id=f"c{row}", row=row, caption=f"caption {row}", image_id=f"i{row // 2}",
             metadata={name: values[row] for name, values in columns.items()})
        for row in range(count)
    ]  # fmt: skip


def write_gallery(
    galleries: Path,
    vectors: np.ndarray,
    items: list[Item] | None = None,
    *,
    name: str = "captions-0000000000000000",
    fingerprint: str = FINGERPRINT,
    **more: Any,
) -> Path:
    galleries.mkdir(parents=True, exist_ok=True)
    encoder = EncoderRecord("random", fingerprint, vectors.shape[1], {}, "float32")
    kind = "images" if name.startswith("images") else "captions"
    with GalleryDraft(galleries / f".draft-{name}", kind, encoder) as draft:
        draft.add_contents(vectors)
        draft.add_items(items or caption_items(len(vectors)), np.arange(len(vectors)))
        return draft.finish(galleries / name, **more)


def open_gallery(folder: Path, vectors: np.ndarray, items: list[Item] | None = None) -> Gallery:
    return Gallery.open(write_gallery(folder, vectors, items))


def display_copy_of(gallery: Gallery, item_id: str) -> bytes | None:
    """The JPEG that a picture in a shard is shown by; None for one with a file of its own."""
    item = gallery.item(item_id)
    if item is None or item.span is None:
        return None
    return gallery.display_copy_of_content(item.content_hash)


def publish_captions(
    index: IndexFolder, vectors: np.ndarray, name: str = "captions-0000000000000000", **more: Any
) -> int:
    """Write and serve one captions gallery, as build does."""
    with index.writing():
        folder = index.galleries / name
        if not folder.exists():
            write_gallery(index.galleries, vectors, name=name, **more)
        return index.publish(
            checkpoint=CheckpointRecord(
                fingerprint=FINGERPRINT,
                folder="checkpoints/" + FINGERPRINT[:16],
                name="random",
                files={},
            ),
            images=None,
            captions=GalleryRecord(
                folder=f"galleries/{name}",
                manifest_sha256=sha256_of_file(folder / "manifest.json"),
            ),
            images_root=None,
        )


def rewrite_version(index: Path, version: int = 1, **changes: Any) -> None:
    """Change what a version says; it vouches for itself as before."""
    place = index / "versions" / f"{version}.json"
    VersionRecord.model_validate(json.loads(place.read_text()) | changes).write(place)


def served_files(index: Path) -> dict[str, Any]:
    """All that the served version of an index is made of, times apart."""
    number = int((index / "current").read_text())
    version = json.loads((index / "versions" / f"{number}.json").read_text())
    found: dict[str, Any] = {"rejected.jsonl": (index / "rejected.jsonl").read_text()}
    for kind in ("images", "captions"):
        if version[kind] is None:
            continue
        for path in sorted((index / version[kind]["folder"]).iterdir()):
            place = path.relative_to(index).as_posix()
            found[place] = sha256_of_file(path)
            if path.name == "manifest.json":
                manifest = json.loads(path.read_text())
                del manifest["created_at"]
                manifest["index"].pop("latency", None)
                found[place] = manifest
    found["version"] = {name: version[name] for name in ("checkpoint", "images_root")}
    return found
