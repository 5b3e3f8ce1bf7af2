"""Scene graphs: reproducible, and with combinations that only the test split shows."""

import pytest

from model.data.scenes.graph import (
    MAX_OBJECTS,
    SPLITS,
    UNSEEN_COMBINATIONS,
    Scene,
    groups_of,
    sample_scene,
)


def combinations(scene: Scene) -> set[tuple[str, str]]:
    return {(thing.colour, thing.kind) for thing in scene.objects}


def sample(split: str, count: int) -> list[Scene]:
    return [sample_scene(0, split, index) for index in range(count)]


def test_a_scene_follows_from_seed_split_and_index() -> None:
    scenes = {
        (seed, split, index): sample_scene(seed, split, index)
        for seed in (0, 1)
        for split in SPLITS
        for index in range(20)
    }
    assert len(set(scenes.values())) == len(scenes)
    for arguments in reversed(scenes):
        assert sample_scene(*arguments) == scenes[arguments]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_train_and_dev_never_show_an_unseen_combination(split: str) -> None:
    shown = set().union(*(combinations(scene) for scene in sample(split, 1500)))
    assert not shown & UNSEEN_COMBINATIONS


def test_many_test_pictures_show_an_unseen_combination() -> None:
    scenes = sample("test", 500)
    showing = [scene for scene in scenes if combinations(scene) & UNSEEN_COMBINATIONS]
    assert 0.05 * len(scenes) < len(showing) < 0.3 * len(scenes)
    shown = set().union(*(combinations(scene) for scene in scenes))
    assert shown >= UNSEEN_COMBINATIONS


def test_every_plain_shape_comes_in_every_plain_colour() -> None:
    shown = set().union(*(combinations(scene) for scene in sample("test", 500)))
    for colour in ("red", "green", "blue", "yellow"):
        for kind in ("circle", "square", "triangle", "star"):
            assert (colour, kind) in shown


def test_objects_of_a_scene_stand_apart() -> None:
    for scene in sample("train", 300):
        assert 1 <= len(scene.objects) <= MAX_OBJECTS
        cells = {(thing.column, thing.row) for thing in scene.objects}
        assert len(cells) == len(scene.objects)


def test_groups_count_objects_that_are_alike() -> None:
    for scene in sample("train", 100):
        assert sum(group.count for group in groups_of(scene)) == len(scene.objects)


def test_twins_share_colours_and_kinds_but_not_how_they_are_bound() -> None:
    scenes = sample("train", 400)
    twin_count = 0
    for first, second in zip(scenes[::2], scenes[1::2], strict=True):
        same_parts = (
            first.background == second.background
            and sorted(t.colour for t in first.objects) == sorted(t.colour for t in second.objects)
            and sorted(t.kind for t in first.objects) == sorted(t.kind for t in second.objects)
        )
        twin_count += same_parts and combinations(first) != combinations(second)
    assert twin_count > 15
