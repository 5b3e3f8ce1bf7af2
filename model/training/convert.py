"""The command `convert`: a checkpoint file that the authors released -> a checkpoint folder.

Nothing in the file is executed (`model.torch_file`). What it says is told; what it does not say is
a setting, told as an assumption and kept in `metrics.json` and in the model card.
"""

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from model import console
from model.command_line import Command
from model.durable import move_folder, write_file
from model.errors import CheckpointError
from model.hrem import HREM
from model.identifiers import sha256_of_file
from model.released import Assumptions, ReleasedCheckpoint, build_hrem, read_released
from model.released_vocabulary import vocabulary_file
from model.training.model_card import imported_model_card

__all__ = ["Convert"]

# Assumptions that do not concern a network of the other kind.
_NOT_OF = {
    "bert": {"word_split"},
    "bigru": {"text_heads", "text_activation", "text_layer_norm_eps"},
}


class Convert(Command, Assumptions):  # type: ignore[misc]  # pydantic merges both model_configs
    """Import a checkpoint file that the authors released; nothing in it is executed."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training convert --upstream model_best.pth "
        "--tokenizer bert-base-uncased --text-heads 12 --output checkpoints/released",
        "python -m model.training convert --upstream model_best.pth "
        "--tokenizer bert/ --max-word-count 64 --output checkpoints/released",
    )

    upstream: Path = Field(description="The released file, such as model_best.pth.")
    tokenizer: str = Field(
        description="Folder with tokenizer.json or vocab.txt, or a hub name; BiGRU: the JSON file "
        "of its vocabulary."
    )
    output: Path = Field(description="The checkpoint folder to write; new, or empty.")

    def run(self) -> None:
        """Convert, and tell what the file said, what was assumed and what was written."""
        if self.output.is_file() or (self.output.is_dir() and any(self.output.iterdir())):
            raise CheckpointError(
                f"'{self.output}' exists already; give another --output, or remove it"
            )
        console.say(f"converting  {self.upstream}  → {self.output}")
        released = read_released(self.upstream)
        hrem = build_hrem(
            released, vocabulary=self.tokenizer, assumed=Assumptions(**self._assumptions())
        )
        record = self._record(released, hrem)
        for name, value in record["found"].items():
            console.say(f"found    {_words(name)} = {value}")
        for name, value in record["assumed"].items():
            flag = name.replace("_", "-")
            console.say(f"assumed  {_words(name)} = {value} (not in the file; --{flag})")
        self._write(hrem, record)
        if self.json_output:
            console.result_json(record)
        weights = sum(parameter.numel() for parameter in hrem.parameters())
        console.say(
            f"wrote  {self.output}  ({hrem.name}, {weights / 1e6:.1f} M weights, "
            f"{hrem.tokenizer.vocabulary_size:,} words)"
        )

    def _assumptions(self) -> dict[str, Any]:
        return self.model_dump(include=set(Assumptions.model_fields))

    def _record(self, released: ReleasedCheckpoint, hrem: HREM) -> dict[str, Any]:
        """Return where the checkpoint comes from: what the file said and what was assumed."""
        text = hrem.config.text
        found: dict[str, Any] = {
            "epoch": released.epoch,
            "best_rsum": released.best_rsum,
            "embedding_dim": hrem.dim,
            "region_dim": hrem.config.image.region_dim,
            "text": text.kind,
            "vocabulary_size": text.vocabulary_size,
            "relation_heads": text.fragment_level.head_count,
            "pooling_weight": text.fragment_level.pooling_weight,
        }
        if text.architecture is not None:
            found["text_layers"] = text.architecture["num_hidden_layers"]
            found["text_width"] = text.architecture["hidden_size"]
        left_out = set(_NOT_OF[text.kind])
        file = vocabulary_file(self.tokenizer)
        if file is None or file.name == "tokenizer.json":
            left_out.add("lower_case")  # the tokenizer says it
        assumed = self._assumptions() | {"max_word_count": text.max_word_count}
        assumed = {name: value for name, value in assumed.items() if name not in left_out}
        return {
            "source": {
                "file": self.upstream.name,
                "sha256": sha256_of_file(self.upstream),
                "tokenizer": self.tokenizer if file is None else file.name,
                "tokenizer_sha256": None if file is None else sha256_of_file(file),
            },
            "found": found,
            "assumed": assumed,
            "fingerprint": hrem.fingerprint,
        }

    def _write(self, hrem: HREM, record: dict[str, Any]) -> None:
        """Write the checkpoint folder, whole or not at all."""
        self.output.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{self.output.name}-", dir=self.output.parent))
        try:
            draft.chmod(0o755)
            hrem.save_pretrained(draft)
            text = json.dumps(record, indent=2, ensure_ascii=False)
            write_file(draft / "metrics.json", text + "\n")
            write_file(draft / "README.md", imported_model_card(hrem.config, record))
            move_folder(draft, self.output)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def _words(name: str) -> str:
    return name.replace("_", " ")
