"""`python -m model.data.scenes --output data/scenes`: make the generated data set."""

import sys
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from model import console
from model.command_line import Command, run_command
from model.data.scenes.dataset import write_scenes


class Scenes(Command):
    """Draw scenes and write their captions, graphs, boxes and region features."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.data.scenes --output data/scenes",
        "python -m model.data.scenes --output /tmp/few --train-count 200 --seed 7",
    )

    output: Path = Field(description="folder to make; must not hold anything yet")
    seed: int = Field(default=0, ge=0, description="another seed gives other scenes")
    train_count: int = Field(default=4000, ge=0, description="pictures to train on")
    dev_count: int = Field(default=300, ge=0, description="pictures to select checkpoints on")
    test_count: int = Field(default=500, ge=0, description="pictures to report on")

    def run(self) -> None:
        """Write the data set."""
        counts = {"train": self.train_count, "dev": self.dev_count, "test": self.test_count}
        with console.progress("drawing scenes", sum(counts.values()), "pictures") as bar:
            write_scenes(
                self.output,
                seed=self.seed,
                image_counts=counts,
                on_image=lambda: bar.advance(1),
            )
        if self.json_output:
            console.result_json({"output": str(self.output), "seed": self.seed, "images": counts})
        else:
            console.result(f"wrote  {self.output}")


if __name__ == "__main__":
    sys.exit(run_command("python -m model.data.scenes", Scenes))
