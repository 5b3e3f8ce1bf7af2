"""The command `evaluate`: a checkpoint on captioned pictures."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from model import console
from model.command_line import Command
from model.data.datasets import load_captioned_images
from model.dual_encoder import load_dual_encoder
from model.errors import ConfigError
from model.training.evaluation import evaluate_on_pictures, show_report

__all__ = ["Evaluate"]


class Evaluate(Command):
    """Measure R@1/5/10 both ways, rSum and median rank of a checkpoint or a live service."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training evaluate --checkpoint runs/scenes --data data/scenes",
        "python -m model.training evaluate --endpoint http://127.0.0.1:8000 --data data/scenes",
    )

    checkpoint: str | None = Field(None, description="Folder or name of a checkpoint.")
    data: Path | None = Field(None, description="Folder with captions.jsonl and images/.")
    images: Path | None = Field(None, description="Folder of pictures, with --captions.")
    captions: Path | None = Field(None, description="JSON lines that name pictures and captions.")
    split: str = Field("test", description="Which images; 'all' takes every one.")
    device: str = Field("cpu", description="Where the network computes.")

    def run(self) -> None:
        """Evaluate and print a table, or one JSON object."""
        if self.data is not None and self.images is None and self.captions is None:
            root, file = self.data / "images", self.data / "captions.jsonl"
        elif self.data is None and self.images is not None and self.captions is not None:
            root, file = self.images, self.captions
        else:
            raise ConfigError(
                ["data: give --data FOLDER (captions.jsonl, images/), or --images and --captions"]
            )
        if self.checkpoint is None:
            raise ConfigError(["checkpoint: give --checkpoint FOLDER"])
        images = load_captioned_images(root, file, None if self.split == "all" else [self.split])
        encoder = load_dual_encoder(self.checkpoint, device=self.device)
        report = evaluate_on_pictures(encoder, images)
        if self.json_output:
            console.result_json(
                {"checkpoint": encoder.fingerprint[:16], "split": self.split, **report.as_dict()}
            )
        else:
            show_report(f"{root.parent.name} {self.split}", report)
