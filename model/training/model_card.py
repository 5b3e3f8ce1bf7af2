"""The README.md of a checkpoint folder: what it is, how good, where it comes from."""

from collections.abc import Mapping
from typing import Any

from model.config import HremConfig

__all__ = ["imported_model_card", "model_card"]

_CARD = """# HREM checkpoint: {name}

A dual encoder for image-text retrieval (Hierarchical RElation Modeling, Fu et al., CVPR 2023).
Images and captions are encoded independently; a cosine compares them.

```python
from model.hrem import HREM

hrem = HREM.from_pretrained("this folder")
captions = hrem.encode_captions(["a dog on grass"])   # (1, {dim}), unit rows
images = {encode_images}
score = images @ captions.T
```

## On the dev images ({dev_images}; they selected this checkpoint)

| direction | R@1 | R@5 | R@10 | median rank |
|---|---|---|---|---|
| image → text | {i2t} |
| text → image | {t2i} |

rSum {rsum:.1f} over {images:,} images and {captions:,} captions, after step {best_step:,}.

## How it was trained

- recipe: {recipe}, seed {seed}
- {steps:,} of {planned:,} steps, {instance_steps:,} of them with the instance level
- {minutes:.1f} minutes of training
- every setting: `training/settings.json`
"""

_IMPORTED_CARD = """# HREM checkpoint: {name}

A dual encoder for image-text retrieval (Hierarchical RElation Modeling, Fu et al., CVPR 2023),
imported from a checkpoint file that its authors' code wrote. Images and captions are encoded
independently; a cosine compares them.

```python
from model.hrem import HREM

hrem = HREM.from_pretrained("this folder")
captions = hrem.encode_captions(["a dog on grass"])   # (1, {dim}), unit rows
images = hrem.encode_regions(features)                # (image, region, {region_dim})
score = images @ captions.T
```

## Where it comes from

- file: `{file}`, sha256 `{sha256}`
- epoch {epoch}; its own best rSum: {best_rsum:.1f}, on the split that its training selected on
- tokenizer: `{tokenizer}`

The authors' licence and terms hold for these weights.

## What was assumed, because the file does not say it

{assumed}

Everything else was in the file, or follows from the shapes of its weights.
"""


def imported_model_card(config: HremConfig, record: Mapping[str, Any]) -> str:
    """Return the text of the card of a converted checkpoint.

    Args:
        config: The network.
        record: What `metrics.json` holds: `source`, `found`, `assumed`.
    """
    assumed = record["assumed"].items()
    return _IMPORTED_CARD.format(
        name=f"{config.summary}, imported",
        dim=config.embedding_dim,
        region_dim=config.image.region_dim,
        file=record["source"]["file"],
        sha256=record["source"]["sha256"],
        epoch=record["found"]["epoch"],
        best_rsum=record["found"]["best_rsum"],
        tokenizer=record["source"]["tokenizer"],
        assumed="\n".join(f"- {name.replace('_', ' ')}: {value}" for name, value in assumed),
    )


def model_card(
    config: HremConfig, metrics: Mapping[str, Any], *, settings: Mapping[str, Any]
) -> str:
    """Return the text of the card.

    Args:
        config: The network.
        metrics: What `metrics.json` holds.
        settings: All settings of the run.
    """
    dev = metrics["dev"]
    encode_images = "hrem.encode_regions(features, counts)        # (image, region, region_dim)"
    if config.image.backbone is not None:
        encode_images = "hrem.encode_images([picture])                # PIL pictures"
    return _CARD.format(
        name=config.summary,
        dim=config.embedding_dim,
        encode_images=encode_images,
        dev_images=metrics["dev_images"],
        i2t=_cells(dev["image_to_text"]),
        t2i=_cells(dev["text_to_image"]),
        rsum=dev["rsum"],
        images=dev["image_count"],
        captions=dev["caption_count"],
        best_step=metrics["best_step"],
        recipe=settings.get("recipe") or "none",
        seed=metrics["seed"],
        steps=metrics["steps"],
        planned=metrics["planned_steps"],
        instance_steps=metrics["steps_with_instance_level"],
        minutes=metrics["training_seconds"] / 60,
    )


def _cells(direction: Mapping[str, Any]) -> str:
    recalls = (direction[f"recall_at_{k}"] for k in (1, 5, 10))
    return " | ".join([*(f"{recall:.1f}" for recall in recalls), str(direction["median_rank"])])
