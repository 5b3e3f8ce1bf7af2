"""docs/indexes.md says what every field of the manifest is for, and nothing about others."""

import re
from pathlib import Path

import pytest

from index_builder.galleries.manifest import IndexRecord, Manifest

PAGE = (Path(__file__).parents[3] / "docs" / "indexes.md").read_text()


def fields_of_table(heading):
    """The names in the first column of the table that follows a heading."""
    table = PAGE.partition(heading)[2].lstrip("\n")
    table = table[table.index("| field |") :].split("\n\n")[0]
    return [name for line in table.splitlines()[2:] for name in re.findall("`(\\w+)`",
            line.split("|")[1])]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "record"),
    [("## The manifest\n", Manifest), ("**In the manifest**, under `index`:\n", IndexRecord)],
)
def test_the_page_goes_through_the_manifest_field_by_field(heading, record):
    assert sorted(fields_of_table(heading)) == sorted(record.model_fields)
