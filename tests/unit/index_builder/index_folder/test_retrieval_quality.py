"""Retrieval measured through an index against a slow reading of its definition."""

import hashlib
from collections import Counter

import numpy as np
import pytest
import torch

from index_builder.galleries.gallery import Gallery
from index_builder.galleries.items import Item
from index_builder.index_folder import retrieval_quality
from index_builder.index_folder.retrieval_quality import measure_retrieval
from model.metrics import evaluate_retrieval
from tests.unit.index_builder.written_galleries import unit_rows, write_gallery

DIM = 16


def opened_pair(folder, image_vectors, caption_vectors, image_of_caption):
    """Two galleries; None for a caption of no picture, -1 for one that is not in this version."""
    image_items = [
        Item(id=f"i{row}", row=row, path=f"{row}.png") for row in range(len(image_vectors))
    ]
    caption_items = [
        Item(id=f"c{row}", row=row, caption="x", image_id=None if image is None else f"i{image}")
        for row, image in enumerate(image_of_caption)
    ]
    return [
        Gallery.open(write_gallery(folder, vectors, items, name=f"{kind}-0000000000000000"))
        for kind, vectors, items in (
            ("images", image_vectors, image_items),
            ("captions", caption_vectors, caption_items),
        )
    ]


def near(vectors, rows, seed, noise=1.2):
    """Unit vectors near some rows, so that recalls are neither 0 nor 100."""
    moved = vectors[rows] + noise * unit_rows(len(rows), vectors.shape[1], seed)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def slow_recalls(queries, items, own_rows, visible=None):
    """R@1, 5, 10 by the definition, one query at a time; only `visible` rows are found at all."""
    found = list(range(len(items))) if visible is None else list(visible)
    ranks = []
    for query, own in zip(queries, own_rows, strict=True):
        scores = (items.astype(np.float64) @ query.astype(np.float64)).astype(np.float32)
        right = [scores[row] for row in own if row in found]
        others = [row for row in found if row not in own]
        best = max(right, default=None)
        ranks.append(10**9 if best is None else sum(scores[row] >= best for row in others))
    return [100 * float(np.mean([rank < k for rank in ranks])) for k in (1, 5, 10)]


def values(recalls):
    return list(recalls.model_dump().values())


def test_figures_equal_those_of_evaluate_where_every_image_has_captions(tmp_path):
    image_of_caption = np.random.default_rng(5).permutation(np.repeat(np.arange(60), 3))
    image_vectors = unit_rows(60, DIM)
    caption_vectors = near(image_vectors, image_of_caption, seed=1, noise=3)
    # Ties: captions of other images with the very same vector, and two equal images.
    caption_vectors[:40] = caption_vectors[40:80]
    image_vectors[7] = image_vectors[8]
    images, captions = opened_pair(tmp_path, image_vectors, caption_vectors, image_of_caption)
    found = measure_retrieval(images, captions)
    report = evaluate_retrieval(
        torch.from_numpy(image_vectors),
        torch.from_numpy(caption_vectors),
        torch.from_numpy(image_of_caption),
    )
    for direction, expected in (
        (found.image_to_text, report.image_to_text),
        (found.text_to_image, report.text_to_image),
    ):
        recalls = [expected.recall_at_1, expected.recall_at_5, expected.recall_at_10]
        assert 0 < recalls[0] < recalls[2] < 100
        assert values(direction.exact) == pytest.approx(recalls)
        assert values(direction.through_index) == pytest.approx(recalls)
    assert (found.image_to_text.query_count, found.text_to_image.query_count) == (60, 180)


class HalfBlindGallery(Gallery):
    """Searches as an approximate index may: rows that are not even are never found."""

    def search(self, queries, limit, offset=0):
        whole = super().search(queries, self.count)
        return [[hit for hit in hits if hit.row % 2 == 0][:limit] for hits in whole]


def test_items_without_a_partner_compete_and_what_an_index_misses_is_seen(tmp_path):
    generator = np.random.default_rng(2)
    image_of_caption = [*generator.integers(0, 30, 50), *[None] * 8, *[-1] * 8]
    image_vectors = unit_rows(40, DIM)
    caption_vectors = np.concatenate(
        [near(image_vectors, image_of_caption[:50], seed=3, noise=0.9), unit_rows(16, DIM, 4)]
    )
    images, captions = opened_pair(tmp_path, image_vectors, caption_vectors, image_of_caption)
    blind_images, blind_captions = (
        HalfBlindGallery.open(gallery.folder) for gallery in (images, captions)
    )
    found = measure_retrieval(blind_images, blind_captions)

    of_images = sorted({int(image) for image in image_of_caption[:50]})
    own_captions = [
        [c for c, i in enumerate(image_of_caption) if i == image] for image in of_images
    ]
    own_images = [[image] for image in image_of_caption[:50]]
    asked = image_vectors[of_images], caption_vectors, own_captions
    assert values(found.image_to_text.exact) == pytest.approx(slow_recalls(*asked))
    blind = slow_recalls(*asked, visible=range(0, 66, 2))
    assert values(found.image_to_text.through_index) == pytest.approx(blind)
    asked = caption_vectors[:50], image_vectors, own_images
    assert values(found.text_to_image.exact) == pytest.approx(slow_recalls(*asked))
    blind = slow_recalls(*asked, visible=range(0, 40, 2))
    assert values(found.text_to_image.through_index) == pytest.approx(blind)
    assert values(found.text_to_image.exact)[0] > blind[0]


def test_a_known_hub_is_named_and_every_occurrence_counted(tmp_path):
    image_of_caption = np.repeat(np.arange(50), 2)
    image_vectors = unit_rows(50, DIM)
    image_vectors[:, 0] = np.abs(image_vectors[:, 0]) + 1  # all lean one way ...
    image_vectors /= np.linalg.norm(image_vectors, axis=1, keepdims=True)
    image_vectors[17] = np.eye(DIM, dtype=np.float32)[0]  # ... and this one is what they share
    caption_vectors = near(image_vectors, image_of_caption, seed=6, noise=0.5)
    images, captions = opened_pair(tmp_path, image_vectors, caption_vectors, image_of_caption)
    report = measure_retrieval(images, captions).image_hubs

    scores = caption_vectors.astype(np.float64) @ image_vectors.astype(np.float64).T
    counted = Counter(np.argsort(-scores, axis=1, kind="stable")[:, :10].ravel().tolist())
    assert (report.k, report.query_count) == (10, 100)
    assert report.hubs[0].id == "i17"
    assert [(hub.id, hub.occurrences) for hub in report.hubs] == [
        (f"i{row}", counted[row])
        for row in sorted(range(50), key=lambda row: (-counted[row], row))[:10]
    ]
    assert report.hubs[0].occurrences > 4 * 100 * 10 / 50
    assert report.never_found_fraction == np.mean([counted[row] == 0 for row in range(50)])
    assert report.skewness > 1


@pytest.mark.parametrize("named", [None, -1])
def test_nothing_is_measured_where_captions_name_no_image(tmp_path, named):
    pair = opened_pair(tmp_path, unit_rows(5), unit_rows(6), [named] * 6)
    assert measure_retrieval(*pair) is None


def test_the_same_queries_are_drawn_whatever_the_order_and_they_are_measured_in_full(
    tmp_path, monkeypatch
):
    image_of_caption = np.repeat(np.arange(40), 5)
    image_vectors = unit_rows(40, DIM)
    caption_vectors = near(image_vectors, image_of_caption, seed=1)
    images, captions = opened_pair(tmp_path, image_vectors, caption_vectors, image_of_caption)
    found = measure_retrieval(images, captions, max_queries=15)
    assert (found.image_to_text.query_count, found.text_to_image.query_count) == (15, 15)
    assert found == measure_retrieval(images, captions, max_queries=15)

    # The drawn, by the law that the docstring states, measured slowly.
    def drawn(prefix, count):
        hashes = {row: hashlib.sha256(f"{prefix}{row}".encode()).digest()
                  for row in range(count)}  # fmt: skip
        return sorted(sorted(hashes, key=hashes.get)[:15])

    rows = drawn("c", 200)
    slow = slow_recalls(caption_vectors[rows], image_vectors, [[row // 5] for row in rows])
    assert values(found.text_to_image.exact) == pytest.approx(slow)
    rows = drawn("i", 40)
    own = [list(range(5 * row, 5 * row + 5)) for row in rows]
    slow = slow_recalls(image_vectors[rows], caption_vectors, own)
    assert values(found.image_to_text.through_index) == pytest.approx(slow)

    # A gallery that is dear to search draws fewer, but never a handful.
    monkeypatch.setattr(retrieval_quality, "MAX_PRODUCTS", 1)
    monkeypatch.setattr(retrieval_quality, "_MIN_QUERIES", 30)
    assert measure_retrieval(images, captions).text_to_image.query_count == 30


def test_an_image_with_many_captions_that_tie_is_ranked_by_the_others_alone(tmp_path):
    # All twenty tie with the caption of another image.
    image_of_caption = [0] * 20 + [1, 2]
    image_vectors = unit_rows(3, DIM)
    caption_vectors = np.concatenate([np.repeat(image_vectors[:1], 21, axis=0), image_vectors[2:]])
    images, captions = opened_pair(tmp_path, image_vectors, caption_vectors, image_of_caption)
    found = measure_retrieval(images, captions)
    own = [list(range(20)), [20], [21]]
    slow = slow_recalls(image_vectors, caption_vectors, own)
    assert values(found.image_to_text.through_index) == pytest.approx(slow)
    assert values(found.image_to_text.exact) == pytest.approx(slow)
