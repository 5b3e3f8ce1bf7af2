"""The checkpoint files that HREM's authors released, as an HREM of this project.

- The file is read without executing it (`model.torch_file`).
- It holds the two encoders of a network of region features; sizes are inferred from the shapes,
  `opt` gives the relation layers' head count and the pooling weight. What it does not say is an
  `Assumptions`; the vocabulary lies elsewhere (`model.released_vocabulary`).
- Captions: BERT, as released; or the BiGRU of the code line that it builds on (GPO), whose weights
  have names and shapes of their own.
- Weights that take no part in the computation are dropped: a second batch norm, BERT's pooler,
  and the position ids that old versions of transformers saved.

Source: the released code of HREM (CVPR 2023); docs/glossary.md has its names beside ours.
"""

import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from torch import Tensor

from model.config import (
    FragmentLevelConfig,
    HremConfig,
    ImageEncoderConfig,
    Section,
    TextEncoderConfig,
    first_problem,
)
from model.errors import CheckpointError
from model.hrem import HREM
from model.inputs.captions import CaptionTokenizer
from model.released_vocabulary import load_word_pieces, load_words
from model.torch_file import read_torch_file

__all__ = [
    "Assumptions",
    "ReleasedCheckpoint",
    "build_hrem",
    "hrem_from_released",
    "read_released",
]

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
    "embed.": "words.embedding.",
    "rnn.": "words.gru.",
    "aggr.layers.0.": "fragment_level.relation.layer.",
}
_BIGRU_WORD_COUNT = 128
_UNUSED = ("fc.mlp.bns.1.", "bert.pooler.", "bert.embeddings.position_ids")


class Assumptions(Section):
    """What a released file does not say; the defaults are those of bert-base-uncased."""

    text_heads: int = Field(12, ge=1, description="BERT's attention heads.")
    text_activation: Literal["gelu", "gelu_new", "relu", "silu"] = Field(
        "gelu", description="BERT's activation."
    )
    text_layer_norm_eps: float = Field(1e-12, gt=0, description="Epsilon of BERT's LayerNorms.")
    max_word_count: int | None = Field(
        None,
        ge=3,
        description="Longest caption read, marks included; unset: BERT's positions, 128 (BiGRU).",
    )
    lower_case: bool = Field(
        True, description="Captions are lower-cased; a tokenizer.json says it by itself."
    )
    word_split: Literal["treebank", "whitespace"] = Field(
        "treebank", description="How captions split into words (BiGRU)."
    )
    pooling_top_k: int = Field(2, ge=1, description="How many largest values pooling averages.")


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
            return ReleasedCheckpoint(
                image_weights=_unwrapped(image_weights),
                text_weights=_unwrapped(text_weights),
                options=options,
                epoch=epoch,
                best_rsum=float(best_rsum),
            )
    keys = sorted(map(str, found)) if isinstance(found, dict) else type(found).__name__
    raise CheckpointError(f"{path} holds {keys}; expected a released checkpoint: {expected}")


def hrem_from_released(
    path: Path, *, vocabulary: str | Path, assumed: Assumptions | None = None
) -> HREM:
    """Return the network of a released `model_best.pth`, in eval mode.

    Args:
        path: The checkpoint file.
        vocabulary: As in `build_hrem`.
        assumed: What the file does not say; None = the defaults.

    Raises:
        CheckpointError: The file or the vocabulary is not what it should be.
    """
    released = read_released(path)
    try:
        return build_hrem(released, vocabulary=vocabulary, assumed=assumed or Assumptions())
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def build_hrem(
    released: ReleasedCheckpoint, *, vocabulary: str | Path, assumed: Assumptions
) -> HREM:
    """Return the network of a released checkpoint, in eval mode.

    Args:
        released: Weights with the released names, and the options that shape the network.
        vocabulary: BERT: a folder or file (vocab.txt or tokenizer.json) or a hub name. BiGRU: the
            code line's vocabulary, a JSON file.
        assumed: What the checkpoint does not say.

    Raises:
        CheckpointError: A weight is missing, has no place here, or does not fit the vocabulary; or
            the options describe another network.
    """
    for name in ("no_imgnorm", "no_txtnorm"):
        if released.options.get(name):
            raise CheckpointError(
                f"its opt.{name} is set, so its embeddings are not of unit length; such networks "
                "are not supported"
            )
    text, tokenizer = _make_text(released.text_weights, vocabulary, assumed)
    try:
        dim, region_dim = released.image_weights["fc.fc.weight"].shape
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"no usable weight {error} of the image encoder; expected region features"
        ) from error
    try:
        level = FragmentLevelConfig(
            head_count=_number(released.options, "nhead"),
            pooling_weight=_number(released.options, "residual_weight"),
            top_k=assumed.pooling_top_k,
        )
        config = HremConfig(
            embedding_dim=dim,
            image=ImageEncoderConfig(region_dim=region_dim, fragment_level=level),
            text=text.model_copy(update={"fragment_level": level}),
            tokenizer="wordpiece" if text.kind == "bert" else "words",
        )
    except ValidationError as error:
        raise CheckpointError(f"sizes that do not go together: {first_problem(error)}") from error
    if tokenizer.vocabulary_size != text.vocabulary_size:
        raise CheckpointError(
            f"its word embedding has {text.vocabulary_size} rows but the vocabulary {vocabulary} "
            f"has {tokenizer.vocabulary_size}; give the vocabulary it was trained with"
        )
    hrem = HREM(config, tokenizer)
    weights = {
        **_renamed(released.image_weights, _IMAGE_PREFIXES, "image_encoder."),
        **_renamed(released.text_weights, _TEXT_PREFIXES, "text_encoder."),
    }
    try:
        hrem.load_state_dict(weights)
    except RuntimeError as error:
        told = textwrap.shorten(str(error), 400)
        raise CheckpointError(f"its weights do not fit the network: {told}") from error
    return hrem.eval()


def _make_text(
    weights: Weights, vocabulary: str | Path, assumed: Assumptions
) -> tuple[TextEncoderConfig, CaptionTokenizer]:
    """Return the text configuration that the shapes tell, and its tokenizer."""
    try:
        if "rnn.weight_ih_l0" in weights:
            vocabulary_size, word_dim = weights["embed.weight"].shape
            text = TextEncoderConfig(
                kind="bigru",
                word_dim=word_dim,
                vocabulary_size=vocabulary_size,
                max_word_count=assumed.max_word_count or _BIGRU_WORD_COUNT,
            )
        else:
            architecture = _bert_architecture(weights, assumed)
            text = TextEncoderConfig(
                kind="bert",
                vocabulary_size=architecture["vocab_size"],
                max_word_count=assumed.max_word_count or architecture["max_position_embeddings"],
                architecture=architecture,
            )
    except (KeyError, ValueError) as error:
        raise CheckpointError(
            f"no usable weight {textwrap.shorten(str(error), 200)} of the text encoder; expected "
            "BERT (bert., linear.) or a BiGRU (embed., rnn.)"
        ) from error
    load = load_word_pieces
    if text.kind == "bigru":
        load = partial(load_words, split=assumed.word_split)
    tokenizer = load(vocabulary, lower_case=assumed.lower_case, max_word_count=text.max_word_count)
    return text, tokenizer


def _bert_architecture(weights: Weights, assumed: Assumptions) -> dict[str, Any]:
    """Return the BERT configuration that the shapes of the weights tell."""
    vocabulary_size, hidden_size = weights["bert.embeddings.word_embeddings.weight"].shape
    layers = {
        int(match[1])
        for name in weights
        if (match := re.match(r"bert\.encoder\.layer\.(\d+)\.", name))
    }
    if hidden_size % assumed.text_heads:
        raise CheckpointError(
            f"BERT is {hidden_size} wide, which is no multiple of {assumed.text_heads} heads; give "
            "its head count"
        )
    position_count = len(weights["bert.embeddings.position_embeddings.weight"])
    if (assumed.max_word_count or 0) > position_count:
        raise CheckpointError(
            f"BERT has {position_count} positions and cannot read {assumed.max_word_count} words; "
            "give a smaller max word count"
        )
    return {
        "model_type": "bert",
        "vocab_size": vocabulary_size,
        "hidden_size": hidden_size,
        "num_hidden_layers": len(layers),
        "num_attention_heads": assumed.text_heads,
        "hidden_act": assumed.text_activation,
        "layer_norm_eps": assumed.text_layer_norm_eps,
        "intermediate_size": len(weights["bert.encoder.layer.0.intermediate.dense.weight"]),
        "max_position_embeddings": position_count,
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
                "(num_layers_enc = 1) and BERT or one BiGRU layer for captions"
            )
        renamed[encoder + prefixes[old] + name.removeprefix(old)] = weight
    return renamed


def _unwrapped(weights: Weights) -> dict[str, Tensor]:
    """Return the weights without the prefix that training on several GPUs puts before each name."""
    return {name.removeprefix("module."): weight for name, weight in weights.items()}


def _number(options: Mapping[str, object], name: str) -> Any:
    value = options.get(name)
    if not isinstance(value, int | float):
        raise CheckpointError(f"its opt.{name} is {value!r}, expected a number")
    return value


def _are_tensors(weights: Mapping[Any, Any]) -> bool:
    return all(isinstance(k, str) and isinstance(v, Tensor) for k, v in weights.items())
