"""The checkpoint folder: each file written whole, read without unpickling anything.

config.json         the network, schema-versioned
model.safetensors   the weights of both encoders and, for raw pictures, the vision backbone
preprocessor.json   how a picture becomes pixels (null for region features)
tokenizer/          tokenizer.json

`metrics.json`, `README.md` and `training/` lie beside them; they are training's business and take
no part in the fingerprint.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from model.config import HremConfig, first_problem
from model.durable import write_file
from model.errors import CheckpointError

__all__ = [
    "TOKENIZER",
    "StoredCheckpoint",
    "checkpoint_files",
    "fingerprint_of",
    "hash_of_weights",
    "read_checkpoint",
    "write_checkpoint",
]

_CONFIG = "config.json"
_WEIGHTS = "model.safetensors"
_PREPROCESSOR = "preprocessor.json"
_TRAINING = "training"
TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class StoredCheckpoint:
    """What `read_checkpoint` found: the configuration and the weights by name."""

    config: HremConfig
    weights: dict[str, Tensor]


def read_checkpoint(folder: Path) -> StoredCheckpoint:
    """Return the configuration and weights of a checkpoint folder.

    Raises:
        CheckpointError: It is missing, not whole, damaged, or of a newer schema.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"no checkpoint at '{folder}'; train one with: python -m model.training train, or "
            "the demo's with: make demo"
        )
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            if (folder / "training").is_dir():
                raise CheckpointError(
                    f"'{folder}' has no {name} yet: its training has not come to its first look at "
                    f"the dev images; go on with: python -m model.training train --resume --output "
                    f"{folder}"
                )
            raise CheckpointError(
                f"'{folder}' has no {name}; give a folder written by `train` or `save_pretrained`"
            )
    config = _read_config(folder)
    try:
        weights = load_file(folder / _WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"'{folder / _WEIGHTS}' is damaged ({error}); copy the checkpoint again"
        ) from error
    return StoredCheckpoint(config=config, weights=weights)


def write_checkpoint(
    folder: Path, *, config: HremConfig, weights: dict[str, Tensor], tokenizer_json: str
) -> None:
    """Write a checkpoint folder; each file appears whole, the weights last."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TOKENIZER).mkdir(exist_ok=True)
    stored = config.model_dump(mode="json", exclude={"preprocessor"})
    preprocessor = config.preprocessor.model_dump(mode="json") if config.preprocessor else None
    write_file(folder / _CONFIG, json.dumps(stored, indent=2) + "\n")
    write_file(folder / _PREPROCESSOR, json.dumps(preprocessor, indent=2) + "\n")
    write_file(folder / TOKENIZER / "tokenizer.json", tokenizer_json)
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    write_file(folder / _WEIGHTS, save(contiguous, metadata={"format": "pt"}))


def fingerprint_of(config: HremConfig, weights: dict[str, Tensor], tokenizer_json: str) -> str:
    """Return 64 hex digits over the sorted weights, the configuration and the tokenizer.

    The hash covers name, dtype, shape and bytes of every weight, so equal fingerprints mean
    equal embeddings.
    """
    digest = hash_of_weights(weights)
    # Defaults are left out: an option that later releases add does not rename old checkpoints.
    stored = config.model_dump(mode="json", exclude_defaults=True)
    digest.update(json.dumps(stored, sort_keys=True).encode())
    digest.update(tokenizer_json.encode())
    return digest.hexdigest()


def hash_of_weights(weights: Mapping[str, Tensor]) -> "hashlib._Hash":
    """Return a sha256, still open, over name, dtype, shape and bytes of the sorted weights."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest


def checkpoint_files(folder: Path) -> dict[str, Path]:
    """Return the files of a checkpoint by their names in it; `training/` is left out."""
    files: dict[str, Path] = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        is_hidden = any(part.startswith(".") for part in name.parts)
        if file.is_file() and not is_hidden and name.parts[0] != _TRAINING:
            files[name.as_posix()] = file
    return files


def _read_config(folder: Path) -> HremConfig:
    try:
        stored: Any = json.loads((folder / _CONFIG).read_text())
        preprocessor = folder / _PREPROCESSOR
        stored["preprocessor"] = (
            json.loads(preprocessor.read_text()) if preprocessor.is_file() else None
        )
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"'{folder / _CONFIG}' is damaged ({error})") from error
    if "schema_version" not in stored:
        raise CheckpointError(
            f"'{folder / _CONFIG}' is not the configuration of an HREM checkpoint (it has no "
            "schema_version); give a folder written by `train`"
        )
    try:
        return HremConfig.model_validate(stored)
    except ValidationError as error:
        raise CheckpointError(
            f"'{folder / _CONFIG}': {first_problem(error)}; the checkpoint is damaged or was "
            "written by another version"
        ) from error
