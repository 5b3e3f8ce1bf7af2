"""Drawings: boxes hold their objects, and nothing but the scene decides a picture."""

from dataclasses import replace

import numpy as np
import pytest

from model.data.scenes.drawing import PICTURE_PIXELS, draw_scene
from model.data.scenes.graph import BACKGROUNDS, COLOURS, KINDS, Scene, SceneObject, sample_scene
from model.data.scenes.regions import REGION_COUNT, REGION_DIM, region_features


def pixels(scene: Scene) -> np.ndarray:
    return np.asarray(draw_scene(scene).picture, dtype=int)


def alone(kind: str, colour: str = "red") -> Scene:
    thing = SceneObject(colour, kind, "big", 1, 1, 0.5, 0.5, 0.28, 6, 1)
    return Scene("snow", 3, False, (thing,))


def test_a_picture_follows_from_its_scene() -> None:
    for index in range(10):
        scene = sample_scene(0, "train", index)
        first, second = draw_scene(scene), draw_scene(scene)
        assert first.picture.tobytes() == second.picture.tobytes()
        assert first.boxes == second.boxes


def test_pictures_are_square_and_large_enough() -> None:
    picture = draw_scene(sample_scene(0, "train", 0)).picture
    assert picture.mode == "RGB"
    assert picture.size == (PICTURE_PIXELS, PICTURE_PIXELS)
    assert PICTURE_PIXELS >= 128


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_holds_its_object_closely(kind: str) -> None:
    scene = alone(kind)
    ((left, top, right, bottom),) = draw_scene(scene).boxes
    changed = np.abs(pixels(scene) - pixels(replace(scene, objects=()))).max(axis=2)
    # Red on snow changes a pixel by far more than a shadow does.
    rows, columns = np.nonzero(changed > 110)
    assert left <= columns.min() and columns.max() < right
    assert top <= rows.min() and rows.max() < bottom
    assert columns.min() - left < 6 and right - columns.max() < 6
    assert rows.min() - top < 6 and bottom - rows.max() < 6


def test_boxes_stay_inside_the_picture_and_hold_their_colour() -> None:
    for index in range(60):
        scene = sample_scene(0, "test", index)
        drawing = draw_scene(scene)
        for thing, (left, top, right, bottom) in zip(scene.objects, drawing.boxes, strict=True):
            assert 0 <= left < right <= PICTURE_PIXELS
            assert 0 <= top < bottom <= PICTURE_PIXELS
            assert left < thing.x * PICTURE_PIXELS < right
            assert top < thing.y * PICTURE_PIXELS < bottom


def test_every_kind_looks_different_in_every_colour() -> None:
    seen = {
        draw_scene(alone(kind, colour)).picture.tobytes() for kind in KINDS for colour in COLOURS
    }
    assert len(seen) == len(KINDS) * len(COLOURS)


def test_big_things_are_larger_than_small_ones() -> None:
    areas: dict[str, list[int]] = {"small": [], "big": []}
    for index in range(40):
        scene = sample_scene(0, "train", index)
        for thing, box in zip(scene.objects, draw_scene(scene).boxes, strict=True):
            areas[thing.size].append((box[2] - box[0]) * (box[3] - box[1]))
    assert max(areas["small"]) < min(areas["big"])


def test_backgrounds_are_told_apart_by_their_mean_colour() -> None:
    means = [pixels(Scene(name, 0, False, ())).mean(axis=(0, 1)) for name in BACKGROUNDS]
    for place, mean in enumerate(means):
        for other in means[place + 1 :]:
            assert np.abs(mean - other).max() > 8


def test_region_features_are_the_picture_and_its_objects() -> None:
    drawing = draw_scene(sample_scene(0, "test", 3))
    features = region_features(drawing)
    assert features.shape == (REGION_COUNT, REGION_DIM)
    assert features.min() >= 0 and features.max() <= 1
    used = 1 + len(drawing.boxes)
    assert (features[:used].any(axis=1)).all()
    assert not features[used:].any()
    np.testing.assert_allclose(features[0, -5:], [0, 0, 1, 1, 1])
    boxes = np.array(drawing.boxes) / PICTURE_PIXELS
    np.testing.assert_allclose(features[1:used, -5:-1], boxes, atol=1e-6)
