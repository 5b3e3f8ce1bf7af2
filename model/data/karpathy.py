"""The Karpathy layout: pictures and one JSON file of captions and splits.

`dataset_flickr8k.json`, `dataset_flickr30k.json` and `dataset_coco.json`:
`{"images": [{"filename", "filepath"?, "split", "imgid", "cocoid"?, "sentences": [{"raw"}, ...]}]}`.

- A picture lies at `filepath/filename` below the folder of pictures.
- Its id is `cocoid`, else `imgid`, else the default id of its path.
- `restval`, the rest of COCO's val, is a split of its own; `train_splits` says whether it trains.

Source: Karpathy and Fei-Fei, Deep Visual-Semantic Alignments (CVPR 2015), `caption_datasets.zip`.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from model.data.captioned_images import CaptionedImages
from model.data.named_images import NamedImage, captioned_images, path_below
from model.errors import DataError
from model.identifiers import check_item_id, image_id_for_path

__all__ = ["load_karpathy"]


def load_karpathy(
    images_root: Path, captions_file: Path, splits: Collection[str] | None = None
) -> CaptionedImages:
    """Return the images of a Karpathy file, in its order.

    Args:
        images_root: Folder that picture paths are relative to.
        captions_file: The JSON file.
        splits: Which splits to keep; None keeps every image.

    Raises:
        DataError: A file or folder is missing, an entry cannot be used, pictures are missing, or
            nothing is left.
    """
    if not images_root.is_dir():
        raise DataError(f"there is no folder of pictures {images_root}")
    named = [
        _named_image(row, f"{captions_file.name} image {place}", images_root)
        for place, row in enumerate(_rows(captions_file))
    ]
    return captioned_images(named, captions_file, splits)


def _rows(captions_file: Path) -> list[Any]:
    """Return the list `images` of the file."""
    try:
        content = json.loads(captions_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"there is no captions file {captions_file}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{captions_file} is not JSON ({error})") from None
    rows = content.get("images") if isinstance(content, dict) else None
    if not isinstance(rows, list):
        raise DataError(
            f'{captions_file}: expected {{"images": [...]}} as in Karpathy\'s dataset_coco.json'
        )
    if "annotations" in content and not any(isinstance(r, dict) and "sentences" in r for r in rows):
        raise DataError(
            f"{captions_file} is in COCO's own layout (`images` and `annotations`), not in "
            "Karpathy's, whose images have `sentences` and a `split`; give Karpathy's "
            'dataset_coco.json, or one JSON object a line (.jsonl), such as {"image": "dog.jpg", '
            '"captions": [...], "split": "train"}'
        )
    return rows


def _named_image(row: Any, where: str, images_root: Path) -> NamedImage:
    """Return the image that one entry of the list describes."""
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}")
    name, folder, split = row.get("filename"), row.get("filepath", ""), row.get("split")
    for key, value in (("filename", name), ("filepath", folder), ("split", split)):
        if not isinstance(value, str):
            raise DataError(f"{where}: `{key}` must be a text, found {value!r}")
    relative = PurePosixPath(str(folder), str(name)).as_posix()
    return NamedImage(
        image_id=_image_id(row, relative, where),
        path=path_below(images_root, relative, where),
        captions=_captions(row.get("sentences"), where),
        split=str(split),
    )


def _image_id(row: Mapping[str, Any], relative: str, where: str) -> str:
    """Return `cocoid`, else `imgid`, else the default id of the path."""
    for key in ("cocoid", "imgid"):
        value = row.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise DataError(f"{where}: `{key}` must be a number or a text, found {value!r}")
        return check_item_id(str(value))
    return image_id_for_path(relative)


def _captions(sentences: Any, where: str) -> list[str]:
    """Return the `raw` text of every sentence, at least one, none empty."""
    if not isinstance(sentences, list) or not sentences:
        raise DataError(f"{where}: `sentences` must be a list with at least one sentence")
    captions = []
    for sentence in sentences:
        raw = sentence.get("raw") if isinstance(sentence, dict) else None
        if not isinstance(raw, str) or not raw.strip():
            raise DataError(f"{where}: `raw` of a sentence must be a text with words, not {raw!r}")
        captions.append(raw.strip())
    return captions
