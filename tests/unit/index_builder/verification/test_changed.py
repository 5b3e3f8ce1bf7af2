"""An index that was added to, removed from, compacted, rolled back and pruned has no problem."""

import pytest

from index_builder.add import add_items
from index_builder.build import build_index
from index_builder.index_folder.versions import IndexFolder
from index_builder.pruning import prune
from index_builder.remove import remove_items
from index_builder.rollback import roll_back
from index_builder.vector_index import IndexRequest
from index_builder.verification import verify_index
from model.identifiers import image_id_for_path
from tests.unit.index_builder.verification.tampering import flipped
from tests.worlds import made_up_picture


def ids_of(*numbers):
    return [image_id_for_path(f"{number:02d}.png") for number in numbers]


@pytest.mark.usefixtures("few_tuning_queries")
@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivf"])
def test_whatever_was_done_to_an_index_it_verifies(world, tmp_path, kind):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(20):
        made_up_picture(number % 16).save(photos / f"{number:02d}.png")  # the last four repeat
    index = tmp_path / "index"
    build_index(
        checkpoint=world / "checkpoint",
        images=photos,
        output=index,
        index_request=IndexRequest(kind=kind),
    )

    def images():
        report = verify_index(index)
        assert report.problems == []
        (counts,) = [
            check.looked_at
            for check in report.checks
            if (check.part, check.name) == ("images", "counts")
        ]
        return counts

    assert images() == "20 items, 0 removed"
    made_up_picture(30).save(photos / "30.png")
    made_up_picture(31).save(photos / "01.png")
    add_items(index, images=photos)
    assert images() == "21 items, 1 removed"
    remove_items(index, images=ids_of(2, 16))
    assert images() == "19 items, 3 removed"
    (folder,) = [index / IndexFolder(index).record().images.folder]
    flip_back = flipped(folder / "tombstones", 8)
    assert any("tombstones has sha256" in problem for problem in verify_index(index).problems)
    flip_back()
    remove_items(index, images=ids_of(3, 4, 5, 6))
    assert images() == "15 items, 0 removed"
    add_items(index, images=photos)
    roll_back(index)
    assert images() == "15 items, 0 removed"
    roll_back(index)
    assert images() == "19 items, 3 removed"
    report = prune(index)
    assert len(report.kept_versions) == 2 and report.freed_bytes > 0
    for version in report.kept_versions:
        assert verify_index(index, version=version).problems == []
    assert not list(index.rglob(".*"))
