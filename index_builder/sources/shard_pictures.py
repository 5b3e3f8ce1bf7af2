"""The pictures of tar shards; `id` and metadata from the `.json` beside each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from index_builder.sources.entries import EntryError, ImageEntry, Rejection
from index_builder.sources.picture_file import MAX_PICTURE_BYTES, resolved_below, too_large
from index_builder.sources.problems import Problems
from index_builder.sources.shard_files import ShardFiles
from index_builder.sources.tar_members import read_span
from index_builder.sources.tar_samples import Sample, find_samples
from model.errors import DataError
from model.identifiers import image_id_for_path

__all__ = ["ShardPictures"]


@dataclass(frozen=True)
class ShardPictures:
    """The pictures of tar shards: shards by name, members in their order.

    Attributes:
        shards: The files.
    """

    shards: ShardFiles

    @property
    def root(self) -> Path:
        """What paths are relative to, absolute."""
        return self.shards.root

    @property
    def description(self) -> str:
        """What it is, for people."""
        return self.shards.description

    def entries(self) -> Iterator[ImageEntry | Rejection]:
        """Yield the pictures; a sample without one is set aside.

        Raises:
            DataError: A shard is damaged, a member or a `.json` cannot be used, or no picture is
                there.
        """
        problems = Problems(self.description)
        is_empty = True
        for sample in find_samples(self.shards, problems):
            if isinstance(sample, Rejection):
                yield sample
                continue
            if not sample.pictures:
                yield Rejection(
                    sample.place,
                    "no_picture",
                    "no picture stands beside its texts; the members of a sample follow each other",
                )
                continue
            try:
                entries = _entries(sample)
            except DataError as error:
                problems.add_at(sample.place, str(error))
                continue
            is_empty = False
            yield from entries
        problems.refuse()
        if is_empty:
            raise DataError(f"{self.description} holds no picture; expected members such as 1.jpg")

    def read(self, entry: ImageEntry) -> bytes:
        """Return the bytes of one picture, read from its place in the shard.

        Raises:
            EntryError: They cannot be had.
        """
        folders = map(str, PurePosixPath(entry.path).parents)
        shard = next((folder for folder in folders if folder in self._names), None)
        if shard is None or entry.span is None:
            raise EntryError(entry.path, "missing", "lies in none of the shards")
        if entry.span.size > MAX_PICTURE_BYTES:
            raise EntryError(entry.path, "too_large", too_large(entry.span.size))
        try:
            content = read_span(resolved_below(self.root, shard), entry.span)
        except EntryError as error:
            raise EntryError(entry.path, error.rejection.code, error.rejection.reason) from error
        except FileNotFoundError as error:
            raise EntryError(entry.path, "missing", "its shard is gone") from error
        except OSError as error:
            raise EntryError(
                entry.path, "unreadable", f"its shard cannot be read: {error.strerror}"
            ) from error
        if content is None:
            raise EntryError(entry.path, "changed", "its shard was changed since it was listed")
        return content

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.shards.names)


def _entries(sample: Sample) -> list[ImageEntry]:
    paths = [sample.path_of(picture) for picture in sample.pictures]
    return [
        ImageEntry(
            sample.image_id or image_id_for_path(path),
            path,
            sample.metadata,
            picture.span,
            has_own_id=bool(sample.image_id),
        )
        for path, picture in zip(paths, sample.pictures, strict=True)
    ]
