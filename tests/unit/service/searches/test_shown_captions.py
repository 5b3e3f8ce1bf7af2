import numpy as np
import pytest

from index_builder.index_folder.versions import OpenIndex
from index_builder.vector_index import RowMask
from service.searches.ranking import SHOWN_CAPTIONS
from service.searches.shown_captions import HitOfImage, captions_beside
from tests.unit.service.conftest import brute_force


def slowly_beside(opened, hit, embedding, is_allowed):
    """(id, caption, score) of the best captions of a hit's image, by looking at all captions."""
    captions = opened.captions
    items = captions.items_of_rows(0, captions.row_count)
    vectors = captions.vectors_of_rows(np.arange(captions.row_count))
    return [
        (items[row].id, items[row].caption, score)
        for row, score in brute_force(embedding, vectors)
        if items[row].image_id == hit.image_id is not None
        and row != hit.caption_row
        and is_allowed[row]
    ][:SHOWN_CAPTIONS]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_a_hit_is_shown_with_the_best_captions_of_its_image(opened: OpenIndex, share: float):
    captions = opened.captions
    is_allowed = np.random.default_rng(0).random(captions.row_count) <= share
    queries = captions.vectors_of_rows(np.array([3, 40])) + np.float32(0.01)
    images = opened.images.items_of_rows(0, opened.images.row_count)
    own = captions.items_of_rows(11, 12)[0]
    hits = [
        [HitOfImage(image.id) for image in images],
        [HitOfImage(own.image_id, own.row), HitOfImage(None, 4), HitOfImage("unknown")],
    ]
    allowed = None if share == 1.0 else RowMask(is_allowed, captions.row_count)
    found = captions_beside(captions, hits, queries, allowed=allowed)
    for of_query, hits_of_query, embedding in zip(found, hits, queries, strict=True):
        for shown, hit in zip(of_query, hits_of_query, strict=True):
            expected = slowly_beside(opened, hit, embedding, is_allowed)
            assert [(one.id, one.caption, one.score) for one in shown] == expected
    assert any(shown for of_query in found for shown in of_query)
    assert own.id not in [one.id for one in found[1][0]]


def test_nothing_is_shown_where_nothing_was_found(opened: OpenIndex):
    assert captions_beside(opened.captions, [[], []], np.ones((2, 16), np.float32)) == [[], []]
