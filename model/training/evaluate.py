"""The command `evaluate`: a checkpoint on captioned pictures."""

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from model import console
from model.command_line import Command
from model.data.datasets import load_captioned_images
from model.device import choose_device
from model.dual_encoder import load_dual_encoder
from model.errors import ConfigError
from model.training.endpoint import Endpoint, evaluate_endpoint
from model.training.evaluation import evaluate_on_pictures, show_report

__all__ = ["Evaluate"]


class Evaluate(Command):
    """Measure R@1/5/10 both ways, rSum and median rank of a checkpoint or a live service."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training evaluate --checkpoint runs/scenes --data data/scenes",
        "python -m model.training evaluate --endpoint http://127.0.0.1:8000 --data data/scenes",
    )

    checkpoint: str | None = Field(None, description="Folder or name of a checkpoint.")
    endpoint: str | None = Field(
        None, description="Address of a live service that serves these pictures and captions."
    )
    endpoint_key: str | None = Field(None, description="Key of that service, if it asks for one.")
    data: Path | None = Field(None, description="Folder with captions.jsonl and images/.")
    images: Path | None = Field(None, description="Folder of pictures, with --captions.")
    captions: Path | None = Field(None, description="JSON lines that name pictures and captions.")
    split: str = Field("test", description="Which images; 'all' takes every one.")
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one.")

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
        if (self.checkpoint is None) == (self.endpoint is None):
            raise ConfigError(["checkpoint: give either --checkpoint FOLDER or --endpoint URL"])
        images = load_captioned_images(root, file, None if self.split == "all" else [self.split])
        if self.endpoint is not None:
            source = {"endpoint": self.endpoint}
            report = evaluate_endpoint(Endpoint(self.endpoint, self.endpoint_key), images)
        else:
            encoder = load_dual_encoder(str(self.checkpoint), device=choose_device(self.device))
            source = {"checkpoint": encoder.fingerprint[:16]}
            report = evaluate_on_pictures(encoder, images)
        if self.json_output:
            console.result_json({**source, "split": self.split, **report.as_dict()})
        else:
            show_report(f"{root.parent.name} {self.split}", report)
