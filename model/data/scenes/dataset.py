"""A folder of scenes on disk: pictures, captions, and the graphs that tell which fits which.

    images/<split>/<number>.jpg
    captions.jsonl                 what training reads: one image a line with its captions
    images-<split>.jsonl           what the index builder reads: one picture a line with `objects`
    captions-<split>.jsonl         ... and one caption a line with the id of its image
    scenes.jsonl                   graph and boxes of every picture, meaning of every caption
    precomp/<split>_ims.npy        region features in the SCAN layout, one row an image; regions.py
    precomp/<split>_caps.txt       ... all captions, one a line
    precomp/<split>_ids.txt        ... the id of each image
    precomp/<split>_counts.npy     ... how many of an image's regions are real

The folder appears whole or not at all.
"""

import json
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from model.data.scenes.captions import Caption, write_captions
from model.data.scenes.drawing import Drawing, draw_scene
from model.data.scenes.graph import SPLITS, Scene, SceneObject, sample_scene
from model.data.scenes.meaning import Meaning
from model.data.scenes.regions import REGION_COUNT, REGION_DIM, region_features
from model.errors import DataError
from model.identifiers import caption_id, image_id_for_path

JPEG_QUALITY = 92


@dataclass(frozen=True)
class CaptionedScene:
    """One item of the data set; it follows from (seed, split, index) alone."""

    split: str
    index: int
    scene: Scene
    captions: tuple[Caption, ...]

    @property
    def image(self) -> str:
        """The picture's path below `images/`."""
        return f"{self.split}/{self.index:05d}.jpg"

    @property
    def image_id(self) -> str:
        """The picture's id everywhere."""
        return image_id_for_path(self.image)

    @property
    def metadata(self) -> dict[str, Any]:
        """What users filter by: objects as "<colour> <kind>", their number, the background."""
        things = self.scene.objects
        return {
            "objects": [f"{thing.colour} {thing.kind}" for thing in things],
            "object_count": len(things),
            "background": self.scene.background,
        }


def generate_scene(seed: int, split: str, index: int) -> CaptionedScene:
    """Return item `index` of a split with its captions."""
    scene = sample_scene(seed, split, index)
    rng = random.Random(f"captions {seed} {split} {index}")
    return CaptionedScene(split, index, scene, write_captions(scene, rng))


def write_scenes(
    output: Path,
    *,
    seed: int,
    image_counts: Mapping[str, int],
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Write a whole data set.

    Args:
        output: A folder that does not exist yet, or is empty.
        seed: Another seed gives other scenes.
        image_counts: Number of pictures of each split.
        on_image: Called after each picture.

    Raises:
        DataError: There is something at `output` already.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"{output} exists already; remove it or give another --output")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for split in SPLITS:
        items = [generate_scene(seed, split, index) for index in range(image_counts[split])]
        _write_split(partial, split, items, on_image)
    if output.exists():
        output.rmdir()
    partial.rename(output)


def read_scenes(folder: Path, split: str) -> list[CaptionedScene]:
    """Return the items of one split, in the order of their index.

    Raises:
        DataError: The folder holds no scenes, or none of that split.
    """
    path = folder / "scenes.jsonl"
    if not path.is_file():
        raise DataError(
            f"{path} is not there; make scenes with: python -m model.data.scenes --output {folder}"
        )
    with path.open(encoding="utf-8") as lines:
        rows = [row for line in lines if (row := json.loads(line))["split"] == split]
    if not rows:
        raise DataError(f"{path} has no scene of split {split!r}; there are {', '.join(SPLITS)}")
    return [_read_item(row) for row in rows]


def _write_split(
    folder: Path, split: str, items: list[CaptionedScene], on_image: Callable[[], None]
) -> None:
    """Write pictures, lines and region features of one split."""
    (folder / "images" / split).mkdir(parents=True)
    regions = np.zeros((len(items), REGION_COUNT, REGION_DIM), dtype=np.float32)
    lines: dict[str, list[dict[str, Any]]] = {
        "captions.jsonl": [],
        "scenes.jsonl": [],
        f"images-{split}.jsonl": [],
        f"captions-{split}.jsonl": [],
    }
    place = 0
    for item, row in zip(items, regions, strict=True):
        drawing = draw_scene(item.scene)
        drawing.picture.save(folder / "images" / item.image, quality=JPEG_QUALITY)
        row[:] = region_features(drawing)
        about = {"image": item.image, "id": item.image_id, "split": split}
        texts = [caption.text for caption in item.captions]
        lines["captions.jsonl"].append(about | {"captions": texts} | item.metadata)
        lines[f"images-{split}.jsonl"].append(
            {"path": item.image, "id": item.image_id} | item.metadata
        )
        ids = [caption_id(text, place + number) for number, text in enumerate(texts)]
        place += len(texts)
        lines[f"captions-{split}.jsonl"] += [
            {"caption": text, "id": id_, "image_id": item.image_id}
            for text, id_ in zip(texts, ids, strict=True)
        ]
        lines["scenes.jsonl"].append(
            about | {"index": item.index} | _graph_json(item, drawing, ids)
        )
        on_image()
    for name, rows in lines.items():
        with (folder / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    _write_regions(folder / "precomp", split, items, regions)


def _write_regions(
    folder: Path,
    split: str,
    items: list[CaptionedScene],
    regions: Float[np.ndarray, "image region region_dim"],
) -> None:
    """Write the region features of one split in the SCAN layout."""
    folder.mkdir(exist_ok=True)
    np.save(folder / f"{split}_ims.npy", regions)
    counts = [1 + len(item.scene.objects) for item in items]
    np.save(folder / f"{split}_counts.npy", np.array(counts, dtype=np.int64))
    captions = [caption.text for item in items for caption in item.captions]
    for kind, lines in (("caps", captions), ("ids", [item.image_id for item in items])):
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{split}_{kind}.txt").write_text(text, encoding="utf-8", newline="\n")


def _graph_json(item: CaptionedScene, drawing: Drawing, ids: list[str]) -> dict[str, Any]:
    """Return graph, boxes and meanings of an item as plain lists and dictionaries."""
    scene = asdict(item.scene)
    scene["objects"] = [
        thing | {"box": list(box)}
        for thing, box in zip(scene["objects"], drawing.boxes, strict=True)
    ]
    captions = [
        {"id": id_, "text": caption.text, "meaning": caption.meaning.as_json()}
        for id_, caption in zip(ids, item.captions, strict=True)
    ]
    return {"scene": scene, "captions": captions}


def _read_item(row: dict[str, Any]) -> CaptionedScene:
    """Return the item of a line of scenes.jsonl."""
    graph = row["scene"]
    objects = tuple(
        SceneObject(**{name: value for name, value in thing.items() if name != "box"})
        for thing in graph["objects"]
    )
    captions = tuple(
        Caption(caption["text"], Meaning.from_json(caption["meaning"]))
        for caption in row["captions"]
    )
    return CaptionedScene(
        row["split"], row["index"], Scene(**{**graph, "objects": objects}), captions
    )
