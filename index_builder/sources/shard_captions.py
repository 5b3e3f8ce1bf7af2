"""The captions of tar shards: the `.txt` of a sample, one a line, or else those of its `.json`."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

from index_builder.sources.caption_table import caption_texts
from index_builder.sources.entries import CaptionEntry, Rejection
from index_builder.sources.problems import Problems
from index_builder.sources.shard_files import ShardFiles
from index_builder.sources.tar_samples import Sample, find_samples
from model.errors import DataError
from model.identifiers import caption_id

__all__ = ["ShardCaptions"]


@dataclass(frozen=True)
class ShardCaptions:
    """The captions of tar shards, each of the picture that it stands beside.

    Attributes:
        shards: The files.
    """

    shards: ShardFiles

    @property
    def description(self) -> str:
        """What it is, for people."""
        return self.shards.description

    def entries(self) -> Iterator[CaptionEntry | Rejection]:
        """Yield the captions in the order of the samples; a sample without any is set aside.

        Raises:
            DataError: A shard is damaged, a `.json` cannot be used, or no caption is there.
        """
        problems = Problems(self.description)
        place = 0
        for sample in find_samples(self.shards, problems):
            if isinstance(sample, Rejection):
                yield sample
                continue
            try:
                texts, image_id = _texts(sample), sample.image_id
            except DataError as error:
                problems.add_at(sample.place, str(error))
                continue
            if not texts:
                yield Rejection(sample.place, "empty", "the sample has no caption")
            path = sample.path_of(sample.pictures[0]) if sample.pictures else None
            for text in texts:
                made = caption_id(text, place)
                yield CaptionEntry(made, text, image_id, path, sample.metadata, has_own_id=False)
                place += 1
        problems.refuse()
        if not place:
            raise DataError(
                f"{self.description} holds no caption; expected members such as 1.txt, or 1.json "
                "with `caption`"
            )


def _texts(sample: Sample) -> list[str]:
    """Return the captions of a sample, none of them empty."""
    # Lines as those of a file: `str.splitlines` would also cut at characters such as U+2028.
    texts = [line.strip() for line in io.StringIO(sample.text or "", newline=None)]
    if not any(texts) and {"caption", "captions"} & set(sample.values):
        texts = caption_texts(sample.values)
    return [text for text in texts if text]
