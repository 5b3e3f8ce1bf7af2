"""FAISS indexes in files: made by a factory string, written, mapped into memory, described."""

from pathlib import Path
from typing import Any

import faiss
from faiss.contrib.factory_tools import reverse_index_factory

from index_builder.galleries.damaged import damaged
from model.errors import ConfigError, GalleryIndexError

__all__ = [
    "describe",
    "describe_written",
    "empty_index",
    "read_index",
    "read_mapped",
    "reason_of",
    "write_index",
]


def empty_index(factory: str, dim: int) -> Any:
    """Return the empty inner-product index that a FAISS factory string stands for.

    Raises:
        ConfigError: FAISS has no such index, or not for vectors of this size.
    """
    try:
        return faiss.index_factory(dim, factory, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise ConfigError(
            [f"factory = {factory!r}: FAISS cannot make it for {dim}-d vectors: {reason_of(error)}"]
        ) from error


def read_mapped(path: Path) -> Any:
    """Return the index in a file; its large parts stay there and are mapped into memory.

    Raises:
        GalleryIndexError: The file is missing or damaged.
    """
    # The other flag, IO_FLAG_MMAP, maps inverted lists alone and copies everything else.
    return _read(path, faiss.IO_FLAG_MMAP_IFC)


def read_index(path: Path) -> Any:
    """Return the index in a file, read into memory, where it can be changed.

    Raises:
        GalleryIndexError: The file is missing or damaged.
    """
    return _read(path, 0)


def _read(path: Path, flags: int) -> Any:
    if not path.is_file():
        raise damaged(f"{path} is missing")
    try:
        return faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise damaged(f"{path} cannot be read") from error


def write_index(index: Any, path: Path) -> None:
    """Write an index; the caller syncs it to the disk.

    Raises:
        GalleryIndexError: It cannot be written.
    """
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise GalleryIndexError(f"cannot write {path}: is the disk full?") from error


def describe(index: Any) -> str:
    """Return kind and sizes of an index, such as IVF64,SQ8; empty or full, the same."""
    try:
        return str(reverse_index_factory(index))
    except (NotImplementedError, AttributeError, KeyError):
        return str(type(index).__name__)  # FAISS can name most kinds, not all


def describe_written(index: Any) -> str:
    """Return what `describe` says, but of transforms only their sizes.

    In a file FAISS keeps the numbers of a transform, and not whether it was OPQ or a rotation.
    """
    if not isinstance(index, faiss.IndexPreTransform):
        return describe(index)
    transforms = [index.chain.at(place) for place in range(index.chain.size())]
    sizes = "".join(f"{transform.d_in}→{transform.d_out}," for transform in transforms)
    return sizes + describe(faiss.downcast_index(index.index))


def reason_of(error: RuntimeError) -> str:
    """Return what FAISS says in an error, without the place in its source."""
    return str(error).strip().splitlines()[-1].rpartition("Error: ")[2]
