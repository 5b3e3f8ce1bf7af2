"""`fits` against a slow reading of the definition, and the logical form on disk."""

import time

import pytest

from model.data.scenes.dataset import generate_scene
from model.data.scenes.graph import Scene, SceneObject
from model.data.scenes.meaning import Meaning, Phrase, fits


def thing(colour: str, kind: str, *, column: int = 1, row: int = 1, size: str = "big"):
    x, y = 0.2 + 0.3 * column, 0.2 + 0.3 * row
    return SceneObject(colour, kind, size, column, row, x, y, 0.2, 0, 0)


def scene(*things: SceneObject, background: str = "snow") -> Scene:
    return Scene(background, 0, False, tuple(things))


def slowly(scene: Scene, meaning: Meaning) -> bool:
    """The definition, word for word, one object at a time."""

    def is_meant(phrase: Phrase, thing: SceneObject) -> bool:
        for name in ("colour", "kind", "size", "column", "row"):
            if getattr(phrase, name) is not None and getattr(phrase, name) != getattr(thing, name):
                return False
        return True

    if meaning.background is not None and meaning.background != scene.background:
        return False
    if meaning.object_count is not None and meaning.object_count != len(scene.objects):
        return False
    found = [[t for t in scene.objects if is_meant(p, t)] for p in meaning.phrases]
    for phrase, things in zip(meaning.phrases, found, strict=True):
        most = len(scene.objects) if phrase.at_most is None else phrase.at_most
        if not phrase.at_least <= len(things) <= most:
            return False
    if meaning.relation is None:
        return True
    for a in found[0]:
        for b in found[1]:
            across, down = a.x - b.x, a.y - b.y
            holds = {
                "left of": across < 0 and abs(across) >= abs(down),
                "right of": across > 0 and abs(across) >= abs(down),
                "above": down < 0 and abs(down) >= abs(across),
                "below": down > 0 and abs(down) >= abs(across),
            }[meaning.relation]
            if holds:
                return True
    return False


def test_fits_agrees_with_the_slow_reading() -> None:
    items = [generate_scene(3, "test", index) for index in range(60)]
    scenes = [item.scene for item in items]
    meanings = [caption.meaning for item in items for caption in item.captions]
    answers = fits(scenes, meanings)
    assert answers.shape == (len(scenes), len(meanings))
    for row, one in zip(answers, scenes, strict=True):
        assert row.tolist() == [slowly(one, meaning) for meaning in meanings]


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        (Meaning((Phrase("red", "star"),)), True),
        (Meaning((Phrase("red", "boat"),)), False),
        (Meaning((Phrase("red", "star"),), background="snow"), True),
        (Meaning((Phrase("red", "star"),), background="night"), False),
        (Meaning((Phrase("red", "star"),), object_count=3), True),
        (Meaning((Phrase("red", "star"),), object_count=2), False),
        (Meaning((Phrase("blue", "boat", at_least=2, at_most=2),)), True),
        (Meaning((Phrase("blue", "boat", at_least=1, at_most=1),)), False),
        (Meaning((Phrase("blue", "boat", at_least=3),)), False),
        (Meaning((Phrase("red", "star", column=0, row=0),)), True),
        (Meaning((Phrase("red", "star", column=2),)), False),
        (Meaning((Phrase("red", "star"), Phrase("blue", "boat")), relation="left of"), True),
        (Meaning((Phrase("red", "star"), Phrase("blue", "boat")), relation="right of"), False),
        (Meaning((Phrase("red", "star"), Phrase("blue", "boat")), relation="above"), True),
        (Meaning((Phrase("red", "star"), Phrase("blue", "boat")), relation="below"), False),
    ],
)
def test_each_part_of_a_meaning_is_read(meaning: Meaning, expected: bool) -> None:
    drawn = scene(
        thing("red", "star", column=0, row=0),
        thing("blue", "boat", column=2, row=0),
        thing("blue", "boat", column=0, row=2),
    )
    assert fits([drawn], [meaning])[0, 0] == expected
    assert slowly(drawn, meaning) == expected


def test_a_meaning_survives_json() -> None:
    for index in range(50):
        for caption in generate_scene(0, "train", index).captions:
            assert Meaning.from_json(caption.meaning.as_json()) == caption.meaning


def test_a_thousand_scenes_and_five_thousand_captions_take_seconds() -> None:
    items = [generate_scene(0, "train", index) for index in range(1000)]
    meanings = [caption.meaning for item in items for caption in item.captions]
    started = time.process_time()
    answers = fits([item.scene for item in items], meanings)
    assert answers.shape == (1000, 5000)
    assert time.process_time() - started < 5
