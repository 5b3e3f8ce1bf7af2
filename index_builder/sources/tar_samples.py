"""The samples of tar shards in webdataset's layout: consecutive members that share a key.

    000017.jpg  000017.json  000017.txt  000018.jpg  ...

The key is the path of a member up to the first dot of its name, and `KEY.jpg` is the picture of its
sample; others, such as `KEY.mask.png`, are passed over. Where no member is named so, as with photos
`IMG.2019.jpg` and `IMG.2020.jpg`, the names up to the last dot are the keys.

Source: https://github.com/webdataset/webdataset, `base_plus_ext` and `group_by_keys`.
Differs: the rule for names with dots; there `2019.jpg` would be the kind of the member.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from index_builder.sources.columns import checked_id, other_columns
from index_builder.sources.entries import EntryError, Rejection
from index_builder.sources.json_lines import json_object
from index_builder.sources.picture_file import resolved_below
from index_builder.sources.problems import Problems
from index_builder.sources.shard_files import ShardFiles
from index_builder.sources.tar_members import Member, find_members

__all__ = ["Sample", "find_samples"]

_OWN_COLUMNS = frozenset({"id", "caption", "captions"})
_LONG_RUN = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """What a shard holds under one key.

    Attributes:
        shard: Name of the shard.
        key: Path of the sample inside it.
        pictures: Its pictures, nearly always one.
        values: What its `.json` holds; empty where there is none.
        text: What its `.txt` holds; None where there is none.
    """

    shard: str
    key: str
    pictures: Sequence[Member]
    values: dict[str, Any]
    text: str | None

    @property
    def place(self) -> str:
        """`shard.tar/key`."""
        return f"{self.shard}/{self.key}"

    @property
    def image_id(self) -> str | None:
        """The id of its picture, if it was given one.

        Raises:
            DataError: It is no id.
        """
        given = self.values.get("id")
        return None if given is None else checked_id(given, "id")

    @property
    def metadata(self) -> dict[str, Any]:
        """Everything in the `.json` but id and captions."""
        return other_columns(self.values, _OWN_COLUMNS)

    def path_of(self, picture: Member) -> str:
        """Return the path of a picture, relative to the root of the shards."""
        return f"{self.shard}/{picture.path}"


def find_samples(shards: ShardFiles, problems: Problems) -> Iterator[Sample | Rejection]:
    """Yield the samples of all shards: shards by name, samples in their order.

    A shard that leads out of the root is set aside; what is damaged is a problem.
    """
    for name in shards.names:
        try:
            shard = resolved_below(shards.root, name)
        except EntryError as error:
            yield error.rejection
            continue
        run: list[Member] = []
        for found in find_members(shard, name, problems):
            if isinstance(found, Rejection):
                yield found
                continue
            is_next = run and found.key != run[0].key
            # Photos `IMG.1.jpg`, `IMG.2.jpg` ... may be one run from end to end of the shard.
            is_long = len(run) >= _LONG_RUN and found.stem != run[-1].stem
            if is_next or is_long:
                yield from _samples(name, run, problems)
                run = []
            run.append(found)
        yield from _samples(name, run, problems)


def _samples(shard: str, run: Sequence[Member], problems: Problems) -> Iterator[Sample]:
    """Yield the samples of consecutive members that share a key; there may be none."""
    own = [member for member in run if member.stem == member.key]
    if any(member.is_picture for member in own) or len(own) == len(run):
        groups = [own] if own else []
    else:
        groups = [list(same) for _, same in groupby(run, lambda member: member.stem)]
    for members in groups:
        texts = {member.ending: member for member in members if not member.is_picture}
        try:
            yield Sample(
                shard,
                str(members[0].stem),
                [member for member in members if member.is_picture],
                json_object(texts[".json"].content) if ".json" in texts else {},
                texts[".txt"].content.decode("utf-8-sig") if ".txt" in texts else None,
            )
        except UnicodeDecodeError:
            problems.add_at(f"{shard}/{texts['.txt'].path}", "not UTF-8 text")
        except ValueError as error:
            problems.add_at(f"{shard}/{texts['.json'].path}", str(error))
