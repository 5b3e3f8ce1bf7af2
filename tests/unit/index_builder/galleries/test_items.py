"""What `items.sqlite` answers, where no other test asks."""

import hashlib
from pathlib import Path

import pytest

from index_builder.galleries import items as items_module
from index_builder.galleries.items import ItemStore
from index_builder.writing.item_writing import ItemWriter
from tests.unit.index_builder.written_galleries import caption_items


@pytest.mark.parametrize("removed", [[], [4], [3, 4, 5], list(range(10))])
@pytest.mark.parametrize("at_once", [3, 10, 1000])
def test_the_hash_of_the_list_is_of_the_ids_in_row_order_without_removed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: list[int], at_once: int
) -> None:
    written = caption_items(10)
    writer = ItemWriter(tmp_path / "items.sqlite")
    writer.add(written)
    writer.finish()
    monkeypatch.setattr(items_module, "_IDS_AT_ONCE", at_once)
    store = ItemStore(tmp_path / "items.sqlite", removed)
    lines = "".join(f"{item.id}\n" for item in written if item.row not in removed)
    assert store.list_sha256() == hashlib.sha256(lines.encode()).hexdigest()
    store.close()
