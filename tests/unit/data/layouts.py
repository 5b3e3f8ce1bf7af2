"""Small data sets written in the field's layouts, for tests that read them."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

REGION_DIM = 5


def made_up_regions(image_count: int, region_count: int = 4, seed: int = 0) -> np.ndarray:
    """Return (image, region, REGION_DIM), none of them zero."""
    shape = (image_count, region_count, REGION_DIM)
    return np.random.default_rng(seed).uniform(0.1, 1, shape).astype(np.float32)


def write_scan(
    folder: Path,
    split: str,
    regions: np.ndarray,
    captions: Sequence[str],
    *,
    ids: Sequence[str] | None = None,
    counts: Sequence[int] | None = None,
) -> Path:
    """Write one split in the SCAN layout and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"{split}_ims.npy", regions)
    (folder / f"{split}_caps.txt").write_text("".join(f"{line}\n" for line in captions))
    if ids is not None:
        (folder / f"{split}_ids.txt").write_text("".join(f"{line}\n" for line in ids))
    if counts is not None:
        np.save(folder / f"{split}_counts.npy", np.array(counts))
    return folder


def captions_for(image_count: int, each: int = 3) -> list[str]:
    """Return `each` captions for every image, side by side."""
    return [f"caption {place} of image {i}" for i in range(image_count) for place in range(each)]


def write_karpathy(
    folder: Path, images: Sequence[dict], *, name: str = "dataset_tiny.json"
) -> Path:
    """Write a Karpathy file and a picture for every entry that names one; return the folder."""
    for image in images:
        if isinstance(image, dict) and isinstance(image.get("filename"), str):
            path = folder / "images" / str(image.get("filepath", "")) / image["filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8)).save(path)
    (folder / name).write_text(json.dumps({"images": list(images), "dataset": "tiny"}))
    return folder


def karpathy_image(number: int, split: str, **fields: object) -> dict:
    """Return one entry of a Karpathy file, with 1 to 3 sentences."""
    sentences = [{"raw": f"a sentence {k} of {number} "} for k in range(1 + number % 3)]
    name = f"picture-{number}.png"
    return {"filename": name, "split": split, "imgid": number, "sentences": sentences, **fields}
