"""`remove`: items are found no more, by their ids, pictures also by their paths."""

from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from pydantic import Field
from pydantic_settings import CliPositionalArg

from index_builder.commands.change_told import tell_change
from index_builder.remove import remove_items
from model.command_line import Command, Names
from model.console import result_json
from model.errors import DataError

__all__ = ["Remove"]


class Remove(Command):
    """Remove pictures and captions from an index by their ids, pictures also by their paths."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m index_builder remove indexes/photos --images 4f1c0a52b7d9e8c36a10",
        "python -m index_builder remove indexes/photos --images 2019/000.jpg,2019/001.jpg",
        "python -m index_builder remove indexes/photos --images-file ids.txt --with-captions",
    )

    index: CliPositionalArg[Path] = Field(description="index folder")
    images: Names = Field(
        default=(), description="ids or paths of images, with commas between them"
    )
    captions: Names = Field(default=(), description="ids of captions, with commas between them")
    images_file: Path | None = Field(
        default=None, description="file of image ids or paths, one a line"
    )
    captions_file: Path | None = Field(default=None, description="file of caption ids, one a line")
    with_captions: bool = Field(
        default=False, description="also remove the captions that name a removed image"
    )
    ignore_missing: bool = Field(
        default=False, description="pass over ids that are not there, instead of refusing all"
    )

    def run(self) -> None:
        """Remove, and tell what changed."""
        report = remove_items(
            self.index,
            images=_ids_in(self.images_file),
            image_pieces=self.images,
            captions=[*self.captions, *_ids_in(self.captions_file)],
            with_captions=self.with_captions,
            ignore_missing=self.ignore_missing,
        )
        if self.json_output:
            result_json({"index": str(self.index), **asdict(report)})
            return
        tell_change(self.index, report)


def _ids_in(path: Path | None) -> list[str]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); give a file of ids") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text; give a file of ids, one a line") from error
    return [line.strip() for line in lines if line.strip()]
