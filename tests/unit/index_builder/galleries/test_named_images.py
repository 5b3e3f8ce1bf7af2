import numpy as np
import pytest

from index_builder.build import build_index
from index_builder.galleries.named_images import NOWHERE, NamedImages
from index_builder.index_folder.versions import IndexFolder
from index_builder.remove import remove_items
from tests.worlds import tiny_checkpoint, write_world


@pytest.fixture(scope="module")
def index_folder(tmp_path_factory):
    """20 images of which two were removed, their captions, and captions that lead nowhere."""
    folder = tmp_path_factory.mktemp("named")
    world = write_world(folder / "world", image_count=20)
    lines = (world / "captions.jsonl").read_text()
    with (world / "captions.jsonl").open("a") as captions:
        captions.write('{"caption": "of no image"}\n')
        captions.write('{"caption": "of an image that is not here", "image_id": "elsewhere"}\n')
        captions.write(lines.splitlines()[0].replace('"a ', '"again a ') + "\n")
    build_index(
        checkpoint=tiny_checkpoint(folder),
        images=world / "images",
        captions=world / "captions.jsonl",
        output=folder / "index",
    )
    with_all = IndexFolder(folder / "index").open()
    ids = [with_all.images.ids_of_rows([row])[row] for row in (0, 7)]
    with_all.close()
    remove_items(folder / "index", images=ids)
    return folder / "index"


@pytest.fixture(scope="module")
def opened(index_folder):
    index = IndexFolder(index_folder).open()
    yield index
    index.close()


def slowly_named(opened):
    """The image row of every caption row, one caption after the other."""
    named = {}
    for row in opened.captions.rows().tolist():
        (caption,) = opened.captions.items_of_rows(row, row + 1)
        image = None if caption.image_id is None else opened.images.item(caption.image_id)
        named[row] = NOWHERE if image is None else image.row
    return named


def test_every_caption_leads_to_the_image_that_it_names(opened):
    named = slowly_named(opened)
    assert list(named.values()).count(NOWHERE) >= 12  # of two removed images, and two more
    rows = np.random.default_rng(0).permutation(list(named))
    found = NamedImages(opened.captions, opened.images).image_rows(rows)
    assert found.tolist() == [named[row] for row in rows]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_captions_of_allowed_images_are_those_that_name_one(opened, share):
    named = slowly_named(opened)
    step = NamedImages(opened.captions, opened.images)
    allowed = np.random.default_rng(1).random(opened.images.row_count) < share
    for _ in range(2):  # the second time from what was kept
        found = step.captions_of(allowed)
        expected = [row for row, image in named.items() if image != NOWHERE and allowed[image]]
        assert np.flatnonzero(found).tolist() == expected
