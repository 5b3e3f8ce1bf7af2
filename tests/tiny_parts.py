"""Tiny BERTs and vision backbones with random weights, in folders as the model hub has them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    BertTokenizerFast,
    BitImageProcessorPil,
)

from tests.worlds import BACKBONES, IMAGE_SIDE

__all__ = ["write_tiny_backbone", "write_tiny_bert"]

_DINOV2: dict[str, Any] = {
    "model_type": "dinov2",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "mlp_ratio": 1,
    "patch_size": 8,
    "image_size": IMAGE_SIDE,
}


def write_tiny_bert(folder: Path, pieces: Sequence[str]) -> BertModel:
    """Write a BERT of one layer whose vocabulary is `pieces`, with its tokenizer; return it."""
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bert = BertModel(
            BertConfig(
                vocab_size=len(pieces),
                hidden_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                intermediate_size=16,
            )
        )
    bert.save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return bert


def write_tiny_backbone(folder: Path, model_type: str) -> None:
    """Write a vision backbone of that `model_type`, with its image processor's settings."""
    known = BACKBONES | {"dinov2": _DINOV2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(AutoConfig.for_model(**known[model_type])).save_pretrained(folder)
    side = {"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    BitImageProcessorPil(
        size={"shortest_edge": IMAGE_SIDE + 4}, crop_size=side, resample=3
    ).save_pretrained(folder)
