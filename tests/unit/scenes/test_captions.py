"""Captions: five different ones, all true, short, and with the words that the demo needs."""

from statistics import median

import pytest

from model.data.scenes.captions import CAPTION_COUNT
from model.data.scenes.dataset import CaptionedScene, generate_scene
from model.data.scenes.graph import BACKGROUNDS, COLOURS, KINDS
from model.data.scenes.meaning import describes, fits


@pytest.fixture(scope="module")
def items() -> list[CaptionedScene]:
    return [generate_scene(0, "test", index) for index in range(500)]


def texts(items: list[CaptionedScene]) -> list[str]:
    return [caption.text for item in items for caption in item.captions]


def test_captions_follow_from_seed_split_and_index(items: list[CaptionedScene]) -> None:
    assert generate_scene(0, "test", 33) == items[33]
    assert generate_scene(1, "test", 33) != items[33]


def test_every_scene_has_five_different_captions(items: list[CaptionedScene]) -> None:
    for item in items:
        assert CAPTION_COUNT == len(item.captions) == 5
        assert len({caption.text for caption in item.captions}) == 5


def test_every_caption_fits_its_own_picture(items: list[CaptionedScene]) -> None:
    for item in items:
        assert fits([item.scene], [caption.meaning for caption in item.captions]).all()


def test_no_object_answers_two_phrases_of_one_caption(items: list[CaptionedScene]) -> None:
    for item in items:
        for caption in item.captions:
            for thing in item.scene.objects:
                answered = [describes(phrase, thing) for phrase in caption.meaning.phrases]
                assert sum(answered) <= 1, caption.text


def test_captions_are_short_and_a_few_are_very_short(items: list[CaptionedScene]) -> None:
    lengths = [len(text.split()) for text in texts(items)]
    assert median(lengths) <= 10
    assert max(lengths) <= 16
    bare = [
        caption
        for item in items
        for caption in item.captions
        if caption.meaning.background is None
        and caption.meaning.object_count is None
        and len(caption.meaning.phrases) == 1
        and len(caption.text.split()) <= 3
    ]
    assert 0.02 <= len(bare) / len(lengths) <= 0.03


def test_captions_vary(items: list[CaptionedScene]) -> None:
    distinct = set(texts(items))
    assert len(distinct) > 0.95 * len(texts(items))
    words = {word for text in distinct for word in text.replace(",", "").split()}
    assert {"left", "above", "two", "tiny", "large", "crimson", "cottage"} <= words


def test_captions_name_what_their_meaning_says(items: list[CaptionedScene]) -> None:
    # The most usual words only: synonyms are captions.py's own business.
    for item in items:
        for caption in item.captions:
            named = {word.rstrip("s") for word in caption.text.replace(",", "").split()}
            phrases = caption.meaning.phrases
            assert named & set(COLOURS) <= {phrase.colour for phrase in phrases} | {"green"}
            kinds = {phrase.kind for phrase in phrases}
            assert named & set(KINDS) <= kinds, caption.text


def test_every_background_is_said_somehow(items: list[CaptionedScene]) -> None:
    said = {caption.meaning.background for item in items for caption in item.captions}
    assert said == {None, *BACKGROUNDS}
