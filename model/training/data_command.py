"""A command that reads a data set, named by its folder or by its files."""

from pathlib import Path

from pydantic import Field

from model.command_line import Command
from model.data.source import DataSource, find_source
from model.errors import ConfigError

__all__ = ["DataCommand"]


class DataCommand(Command):
    """The settings that name a data set: --data, or --images and --captions."""

    data: Path | None = Field(
        None,
        description="Folder with captions.jsonl and images/, region arrays in the SCAN layout, or "
        "Karpathy's dataset*.json.",
    )
    images: Path | None = Field(None, description="Folder of pictures, with --captions.")
    captions: Path | None = Field(
        None, description="JSON lines that name pictures and captions, or Karpathy's .json."
    )

    def source(self) -> DataSource:
        """Return the data set that --data, or --images and --captions, name.

        Raises:
            ConfigError: Neither of the two ways is given whole, or both.
            DataError: There is no data set, or of no known layout.
        """
        if self.data is not None and self.images is None and self.captions is None:
            return find_source(self.data)
        if self.data is None and self.images is not None and self.captions is not None:
            return DataSource.of_files(self.images, self.captions)
        raise ConfigError(
            [
                "data: give --data FOLDER (captions.jsonl and images/, region arrays, or "
                "dataset*.json), or --images and --captions"
            ]
        )
