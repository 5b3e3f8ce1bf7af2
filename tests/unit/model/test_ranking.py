"""Ranks and first hits from parts of the matrix, against the whole matrix sorted."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import ranking
from model.encoders.pooling import unit_length
from model.metrics import exact_scores, retrieval_ranks
from model.ranking import rank_retrieval


def made_up(images: int, more: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return embeddings of small integers, so that many scores tie, and each caption's image."""
    generator = torch.Generator().manual_seed(seed)
    owner = torch.cat([torch.arange(images), torch.randint(images, (more,), generator=generator)])
    rows = torch.randint(-2, 3, (images + len(owner), 3), generator=generator).float()
    return rows[:images], rows[images:], owner


def sorted_hits(scores: torch.Tensor, count: int) -> list[list[int]]:
    return [
        sorted(range(len(row)), key=lambda place: (-row[place], place))[:count]
        for row in scores.tolist()
    ]


@given(
    images=st.integers(1, 9),
    more=st.integers(0, 12),
    part=st.integers(1, 4),
    count=st.integers(1, 12),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=80, deadline=None)
def test_parts_give_the_ranks_and_hits_of_the_whole_matrix(
    images: int, more: int, part: int, count: int, seed: int
) -> None:
    pictures, captions, owner = made_up(images, more, seed)
    scores = exact_scores(pictures, captions)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "_PART_IMAGES", part)
        ranked = rank_retrieval(pictures, captions, owner, hit_count=count)
    image_to_text, text_to_image = retrieval_ranks(scores, owner)
    assert ranked.image_to_text.tolist() == image_to_text.tolist()
    assert ranked.text_to_image.tolist() == text_to_image.tolist()
    assert torch.equal(ranked.own_scores, scores[owner, torch.arange(len(owner))])
    assert ranked.caption_hits is not None and ranked.image_hits is not None
    assert ranked.caption_hits.positions.tolist() == sorted_hits(scores, count)
    assert ranked.image_hits.positions.tolist() == sorted_hits(scores.T, count)
    for found, all_scores in ((ranked.caption_hits, scores), (ranked.image_hits, scores.T)):
        assert torch.equal(found.scores, all_scores.gather(1, found.positions))


def test_hits_are_kept_only_where_asked_for_and_never_change_the_ranks() -> None:
    pictures, captions, owner = made_up(7, 9, 0)
    plain = rank_retrieval(pictures, captions, owner)
    with_hits = rank_retrieval(pictures, captions, owner, hit_count=2)
    assert plain.caption_hits is None and plain.image_hits is None
    assert torch.equal(plain.image_to_text, with_hits.image_to_text)
    assert torch.equal(plain.text_to_image, with_hits.text_to_image)


def test_twins_of_real_size_tie_across_parts() -> None:
    pictures = unit_length(torch.randn(1100, 256))
    captions = unit_length(torch.randn(2200, 256))
    owner = torch.arange(2200) % 1100
    pictures[1050] = pictures[3]
    captions[2100] = captions[7]  # of images 1000 and 7
    ranked = rank_retrieval(pictures, captions, owner)
    before = retrieval_ranks(exact_scores(pictures, captions), owner)
    assert torch.equal(ranked.image_to_text, before[0])
    assert torch.equal(ranked.text_to_image, before[1])
    assert ranked.text_to_image[3] >= 1 and ranked.text_to_image[1050] >= 1
