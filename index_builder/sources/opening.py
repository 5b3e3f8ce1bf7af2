"""Which source reads what was given."""

from pathlib import Path

from index_builder.sources.caption_lines import CaptionLines
from index_builder.sources.caption_table import CaptionTable
from index_builder.sources.entries import CaptionSource, ImageSource
from index_builder.sources.folder_tree import FolderTree
from index_builder.sources.picture_table import PictureTable
from index_builder.sources.shard_captions import ShardCaptions
from index_builder.sources.shard_files import ShardFiles, is_folder_of_shards, is_pattern, is_shard
from index_builder.sources.shard_pictures import ShardPictures
from index_builder.sources.table import TABLE_ENDINGS
from model.errors import DataError

__all__ = ["open_caption_source", "open_image_source"]

_IMAGES = (
    "a folder of pictures, a .jsonl, .csv or .parquet file with `path`, tar shards, or a region "
    "array {split}_ims.npy"
)
_CAPTIONS = "a .txt, .jsonl, .csv or .parquet file, or tar shards"


def open_image_source(source: Path, images_root: Path | None = None) -> ImageSource:
    """Return the pictures that `source` names; they are listed when it is asked for its entries.

    Args:
        source: A folder tree, a table, or tar shards: a file, a folder of them, or a pattern.
        images_root: What the paths are relative to; default: the folder, or that of the file.

    Raises:
        DataError: There is no such source, or it does not lie below the root.
    """
    if _means_shards(source):
        shards = ShardFiles.find(source)
        return ShardPictures(shards if images_root is None else shards.below(images_root))
    if source.is_dir():
        return FolderTree.open(source, images_root)
    _check_file(source, TABLE_ENDINGS, _IMAGES)
    return PictureTable.open(source, images_root)


def open_caption_source(source: Path, images_root: Path | None = None) -> CaptionSource:
    """Return the captions of `source`; they are listed when it is asked for its entries.

    Args:
        source: A text file, a table, or tar shards.
        images_root: As given for the pictures; matters where both come from the same shards.

    Raises:
        DataError: There is no such source.
    """
    if _means_shards(source):
        shards = ShardFiles.find(source)
        # Captions may lie elsewhere than the pictures; then only their ids can name them.
        if images_root is not None and shards.root.is_relative_to(images_root.resolve()):
            shards = shards.below(images_root)
        return ShardCaptions(shards)
    _check_file(source, (".txt", *TABLE_ENDINGS), _CAPTIONS)
    return CaptionLines(source) if source.suffix.lower() == ".txt" else CaptionTable.open(source)


def _means_shards(source: Path) -> bool:
    if is_pattern(source):
        return True
    if source.is_dir():
        return is_folder_of_shards(source)
    return source.is_file() and is_shard(source)


def _check_file(source: Path, endings: tuple[str, ...], expected: str) -> None:
    if not source.exists():
        raise DataError(f"{source} does not exist; give {expected}")
    if not source.is_file() or source.suffix.lower() not in endings:
        raise DataError(f"{source} cannot be read as a source; give {expected}")
