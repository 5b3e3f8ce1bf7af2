"""The tokenizer of a pretrained CLIP-like network: captions to what its text tower reads.

Whatever `transformers.AutoTokenizer` makes of the folder is used, so that the ids are those that
the network was trained on. How a batch is padded belongs to the network:
- most are padded to the longest caption of the batch, which their masks or causal attention hide;
- SigLIP reads the last place of a fixed length, padding included, so every caption gets all of it.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from model.errors import CheckpointError

__all__ = ["Padding", "PretrainedTokenizer"]

Padding = Literal["longest", "max_length"]


class PretrainedTokenizer:
    """Captions to padded token ids.

    Args:
        folder: With the tokenizer's files.
        padding: How far the captions of a batch are padded.
        position_count: How many tokens the text tower has positions for.

    Attributes:
        max_token_count: Longest caption in ids, marks included; a longer one is cut.
        sha256: Of everything that decides about the ids, 64 hex digits.

    Raises:
        CheckpointError: There is no tokenizer that can be loaded, or it cannot pad.
    """

    def __init__(self, folder: Path, *, padding: Padding, position_count: int) -> None:
        from transformers import AutoTokenizer

        try:
            # Code that lies in the folder is never run.
            self._tokenizer = AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
        except Exception as error:
            # transformers raises OSError, ValueError, ImportError and others for the same thing.
            raise CheckpointError(
                f"the tokenizer in '{folder}' cannot be loaded: {' '.join(str(error).split())}"
            ) from error
        # Without any file transformers makes a tokenizer that knows no word.
        vocabularies = {"tokenizer.json", *self._tokenizer.vocab_files_names.values()}
        if not any((folder / name).is_file() for name in vocabularies):
            raise CheckpointError(
                f"'{folder}' has no tokenizer (one of {', '.join(sorted(vocabularies))}); copy it "
                "from where the network comes from"
            )
        if self._tokenizer.pad_token_id is None:
            raise CheckpointError(
                f"the tokenizer in '{folder}' has no padding token; name one as pad_token in "
                "tokenizer_config.json"
            )
        self._padding = padding
        # Where the file names no limit transformers says 10^30.
        self.max_token_count = min(self._tokenizer.model_max_length, position_count)
        # Before the first call, which leaves its padding and truncation in the tokenizer.
        self.sha256 = self._hash(folder)

    def encode(self, captions: Sequence[str]) -> dict[str, Tensor]:
        """Return what the text tower takes: `input_ids` (caption, token), and what goes with it."""
        return dict(
            self._tokenizer(
                list(captions),
                padding=self._padding,
                truncation=True,
                max_length=self.max_token_count,
                return_tensors="pt",
            )
        )

    def is_truncated(self, captions: Sequence[str]) -> list[bool]:
        """Return for each caption whether it is longer than the network reads."""
        if not captions:
            return []
        whole: list[list[int]] = self._tokenizer(
            list(captions), padding=False, truncation=False, verbose=False
        )["input_ids"]
        return [len(ids) > self.max_token_count for ids in whole]

    def _hash(self, folder: Path) -> str:
        """Return 64 hex digits over everything that decides about the ids."""
        rules: dict[str, Any] = {
            "padding": self._padding,
            "padding_side": self._tokenizer.padding_side,
            "pad_token_id": self._tokenizer.pad_token_id,
            "truncation_side": self._tokenizer.truncation_side,
            "max_token_count": self.max_token_count,
            "outputs": self._tokenizer.model_input_names,
        }
        digest = hashlib.sha256(json.dumps(rules, sort_keys=True).encode())
        if self._tokenizer.is_fast:
            digest.update(self._tokenizer.backend_tokenizer.to_str().encode())
        else:
            # Written in Python: what it does is in its files.
            names = {"tokenizer_config.json", *self._tokenizer.vocab_files_names.values()}
            for file in (folder / name for name in sorted(names)):
                digest.update(file.name.encode() + (file.read_bytes() if file.is_file() else b""))
        return digest.hexdigest()
