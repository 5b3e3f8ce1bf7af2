"""The checkpoint files that HREM's authors released, as an HREM of this project.

- The file is read without executing it (`model.torch_file`).
- It holds the two encoders of the region-feature, BERT variant; sizes are inferred from the
  shapes, `opt` gives the relation layers' head count and the pooling weight. BERT's own head
  count, its activation (gelu) and its vocabulary are not in the file.
- Weights that take no part in the computation are dropped: a second batch norm, BERT's pooler,
  and the position ids that old versions of transformers saved.

Source: the released code of HREM (CVPR 2023); docs/glossary.md has its names beside ours.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from model.config import FragmentLevelConfig, HremConfig, ImageEncoderConfig, TextEncoderConfig
from model.errors import CheckpointError
from model.hrem import HREM
from model.inputs.captions import CaptionTokenizer
from model.torch_file import read_torch_file

__all__ = ["ReleasedCheckpoint", "build_hrem", "hrem_from_released", "read_released"]

Weights = Mapping[str, Tensor]

# Prefix in the released code -> prefix here.
_IMAGE_PREFIXES = {
    "fc.fc.": "projection.linear.",
    "fc.mlp.layers.0.": "projection.hidden.",
    "fc.mlp.bns.0.": "projection.batch_norm.",
    "fc.mlp.layers.1.": "projection.output.",
    "aggr.layers.0.": "fragment_level.relation.layer.",
}
_TEXT_PREFIXES = {
    "bert.": "words.bert.",
    "linear.": "words.linear.",
    "aggr.layers.0.": "fragment_level.relation.layer.",
}
_UNUSED = ("fc.mlp.bns.1.", "bert.pooler.", "bert.embeddings.position_ids")


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A released checkpoint file.

    Attributes:
        image_weights: The image encoder's weights, with the released names.
        text_weights: The text encoder's weights, with the released names.
        options: The command line of the training run (`opt`), by name.
        epoch: The epoch at whose end it was saved.
        best_rsum: Its rSum, in percent points, on the split it was selected on.
    """

    image_weights: dict[str, Tensor]
    text_weights: dict[str, Tensor]
    options: dict[str, object]
    epoch: int
    best_rsum: float


def read_released(path: Path) -> ReleasedCheckpoint:
    """Return what a released `model_best.pth` holds; nothing in it is executed.

    Raises:
        CheckpointError: The file is refused by `read_torch_file`, or is not such a checkpoint.
    """
    found = read_torch_file(path)
    expected = "{model: [image state, text state], opt, epoch, best_rsum}"
    match found:
        case {
            "model": [dict() as image_weights, dict() as text_weights],
            "opt": dict() as options,
            "epoch": int() as epoch,
            "best_rsum": int() | float() as best_rsum,
        } if _are_tensors(image_weights) and _are_tensors(text_weights):
            return ReleasedCheckpoint(image_weights, text_weights, options, epoch, float(best_rsum))
    keys = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
    raise CheckpointError(f"{path} holds {keys}; expected a released checkpoint: {expected}")


def hrem_from_released(path: Path, *, vocabulary: Path, text_heads: int = 12) -> HREM:
    """Return the network of a released `model_best.pth`, in eval mode.

    Args:
        path: The checkpoint file.
        vocabulary: BERT's `vocab.txt`, as long as the checkpoint's word embedding.
        text_heads: BERT's head count, which the file does not tell; 12 for bert-base.

    Raises:
        CheckpointError: The file or the vocabulary is not what it should be.
    """
    released = read_released(path)
    try:
        return build_hrem(
            released.image_weights,
            released.text_weights,
            vocabulary=vocabulary,
            text_heads=text_heads,
            relation_heads=_number(released.options, "nhead"),
            pooling_weight=_number(released.options, "residual_weight"),
        )
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def build_hrem(
    image_weights: Weights,
    text_weights: Weights,
    *,
    vocabulary: Path,
    text_heads: int,
    relation_heads: Any,
    pooling_weight: Any,
) -> HREM:
    """Return the network of two released state dicts, in eval mode.

    Args:
        image_weights: With the released names, as in `ReleasedCheckpoint`.
        text_weights: Likewise.
        vocabulary: BERT's `vocab.txt`.
        text_heads: Attention heads of BERT.
        relation_heads: Attention heads of both relation layers.
        pooling_weight: b, the share of the top-2 mean in pooling.

    Raises:
        CheckpointError: A weight is missing, has no place here, or does not fit the vocabulary.
    """
    try:
        dim, region_dim = image_weights["fc.fc.weight"].shape
        architecture = _bert_architecture(text_weights, text_heads)
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"no usable weight {error}; expected the region-feature, BERT variant"
        ) from error
    try:
        level = FragmentLevelConfig(head_count=relation_heads, pooling_weight=pooling_weight)
        config = HremConfig(
            embedding_dim=dim,
            image=ImageEncoderConfig(region_dim=region_dim, fragment_level=level),
            text=TextEncoderConfig(
                kind="bert",
                max_word_count=architecture["max_position_embeddings"],
                vocabulary_size=architecture["vocab_size"],
                architecture=architecture,
                fragment_level=level,
            ),
            tokenizer="wordpiece",
        )
    except ValidationError as error:
        raise CheckpointError(f"sizes that do not go together: {error}") from error
    tokenizer = CaptionTokenizer.from_vocabulary(
        vocabulary, max_word_count=config.text.max_word_count
    )
    if tokenizer.vocabulary_size != architecture["vocab_size"]:
        raise CheckpointError(
            f"its word embedding has {architecture['vocab_size']} rows but {vocabulary} "
            f"{tokenizer.vocabulary_size} lines; give the vocabulary it was trained with"
        )
    hrem = HREM(config, tokenizer)
    weights = {
        **_renamed(image_weights, _IMAGE_PREFIXES, "image_encoder."),
        **_renamed(text_weights, _TEXT_PREFIXES, "text_encoder."),
    }
    try:
        hrem.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"its weights do not fit the network: {error}") from error
    return hrem.eval()


def _bert_architecture(weights: Weights, head_count: int) -> dict[str, Any]:
    """Return the BERT configuration that the shapes of the weights tell."""
    vocabulary_size, hidden_size = weights["bert.embeddings.word_embeddings.weight"].shape
    layers = {
        int(match[1])
        for name in weights
        if (match := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))
    }
    if hidden_size % head_count:
        raise CheckpointError(
            f"BERT is {hidden_size} wide, which is no multiple of {head_count} heads; give its "
            "head count"
        )
    return {
        "model_type": "bert",
        "vocab_size": vocabulary_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": len(layers),
        "num_attention_heads": head_count,
        "intermediate_size": len(weights["bert.encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": len(weights["bert.embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(weights["bert.embeddings.token_type_embeddings.weight"]),
    }


def _renamed(weights: Weights, prefixes: Mapping[str, str], encoder: str) -> dict[str, Tensor]:
    """Return the weights that are used, with this project's names."""
    renamed = {}
    for name, weight in weights.items():
        if name.startswith(_UNUSED):
            continue
        old = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        if old is None:
            raise CheckpointError(
                f"its weight {name} has no place here; expected one relation layer a modality "
                "(num_layers_enc = 1) and the BERT variant"
            )
        renamed[encoder + prefixes[old] + name.removeprefix(old)] = weight
    return renamed


def _number(options: Mapping[str, object], name: str) -> Any:
    value = options.get(name)
    if not isinstance(value, int | float):
        raise CheckpointError(f"its opt.{name} is {value!r}, expected a number")
    return value


def _are_tensors(weights: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items())
