"""Galleries of photos and their captions, encoded by a network, for what is measured of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.galleries.manifest import GalleryKind
from index_builder.vector_index import Rows
from index_builder.writing.draft import EncoderRecord, GalleryDraft
from model import console
from model.data.captioned_images import CaptionedImages
from model.data.scenes.dataset import generate_scene
from model.data.scenes.drawing import draw_scene
from model.hrem import HREM
from model.inputs.pictures import open_picture

__all__ = [
    "encode_captions",
    "encode_drawn",
    "encode_pictures",
    "write_captions",
    "write_images",
]

_PICTURES_AT_ONCE = 64


def write_images(
    folder: Path, hrem: HREM, own: CaptionedImages, pictures: Rows, chosen: npt.NDArray[Any]
) -> Gallery:
    """Return an open gallery of the chosen images."""
    items = [
        Item(
            own.image_ids[image],
            row,
            path=own.image_paths[image].name,
            content_hash=f"{image:064x}",
        )
        for row, image in enumerate(chosen)
    ]
    return _write(folder / "images-0000000000000000", "images", hrem, pictures[chosen], items)


def write_captions(
    folder: Path, hrem: HREM, own: CaptionedImages, captions: Rows, chosen: npt.NDArray[Any]
) -> Gallery:
    """Return an open gallery of the chosen captions."""
    items = [
        Item(
            f"c{caption}",
            row,
            caption=own.caption_texts[caption],
            image_id=own.image_ids[own.caption_image[caption]],
            content_hash=f"{caption:064x}",
        )
        for row, caption in enumerate(chosen)
    ]
    return _write(folder / "captions-0000000000000000", "captions", hrem, captions[chosen], items)


def _write(
    folder: Path, kind: GalleryKind, hrem: HREM, vectors: Rows, items: list[Item]
) -> Gallery:
    record = EncoderRecord(hrem.name, hrem.fingerprint, hrem.dim, {}, hrem.precision)
    with GalleryDraft(folder.with_name(f".draft-{kind}"), kind, record) as draft:
        draft.add_contents(vectors)
        draft.add_items(items, np.arange(len(items)))
        return Gallery.open(draft.finish(folder))


def encode_captions(hrem: HREM, texts: Sequence[str], name: str) -> Rows:
    """Return (caption, dim)."""
    console.say(f"encoding  {len(texts):,} {name}")
    vectors: Rows = hrem.encode_captions(texts).numpy()
    return vectors


def encode_pictures(hrem: HREM, paths: Sequence[Path]) -> Rows:
    """Return (image, dim), some pictures in memory at a time."""
    console.say(f"encoding  {len(paths):,} pictures")
    found = [
        hrem.encode_images(
            [open_picture(path) for path in paths[start : start + _PICTURES_AT_ONCE]]
        )
        for start in range(0, len(paths), _PICTURES_AT_ONCE)
    ]
    return np.concatenate([some.numpy() for some in found])


def encode_drawn(hrem: HREM, count: int) -> Rows:
    """Return (image, dim) of drawn scenes."""
    console.say(f"encoding  {count:,} scenes' pictures")
    found = []
    for start in range(0, count, _PICTURES_AT_ONCE):
        scenes = [
            generate_scene(0, "test", index)
            for index in range(start, min(start + _PICTURES_AT_ONCE, count))
        ]
        pictures = [draw_scene(scene.scene).picture for scene in scenes]
        found.append(hrem.encode_images(pictures).numpy())
    return np.concatenate(found)
