"""Oracle, ceiling and baseline: closed forms against counting, and the thresholds themselves."""

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scenes import ScenesBenchmark, measure
from benchmarks.yardsticks import (
    RidgeBaseline,
    oracle_recall_image_to_text,
    oracle_recall_text_to_image,
    precision_at,
    precision_ceiling,
)
from model.command_line import run_command
from model.data.scenes.dataset import CaptionedScene, generate_scene, write_scenes
from model.data.scenes.meaning import fits
from tests.worlds import tiny_checkpoint

FITTING = np.array(
    [
        [1, 1, 1, 1, 0, 0, 1, 0],
        [0, 1, 1, 1, 1, 0, 0, 0],
        [0, 0, 1, 0, 1, 1, 1, 1],
    ],
    dtype=bool,
)
OWNER = np.array([0, 0, 1, 1, 2, 2, 2, 2])


@pytest.fixture(scope="module")
def items() -> list[CaptionedScene]:
    return [generate_scene(0, "test", index) for index in range(500)]


@pytest.fixture(scope="module")
def fitting(items: list[CaptionedScene]) -> np.ndarray:
    meanings = [caption.meaning for item in items for caption in item.captions]
    return fits([item.scene for item in items], meanings)


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_the_image_to_text_oracle_equals_counting_all_draws(k: int) -> None:
    expected = []
    for image, row in enumerate(FITTING):
        fitting = np.flatnonzero(row)
        draws = list(combinations(fitting, min(k, len(fitting))))
        hits = [any(OWNER[caption] == image for caption in draw) for draw in draws]
        expected.append(np.mean(hits))
    got = oracle_recall_image_to_text(FITTING, OWNER, k)
    assert got == pytest.approx(100 * np.mean(expected))


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_the_text_to_image_oracle_equals_counting_all_places(k: int) -> None:
    counts = FITTING.sum(axis=0)
    expected = [np.mean([place < k for place in range(count)]) for count in counts]
    assert oracle_recall_text_to_image(FITTING, k) == pytest.approx(100 * np.mean(expected))


def test_the_oracle_of_the_demo_set_is_neither_trivial_nor_hopeless(fitting: np.ndarray) -> None:
    assert 50 < oracle_recall_text_to_image(fitting, 1) < 90


def test_precision_of_a_perfect_ranking_is_the_ceiling(fitting: np.ndarray) -> None:
    assert precision_at(fitting.astype(float), fitting, 10) == precision_ceiling(fitting, 10)
    assert precision_at(-fitting.astype(float), fitting, 10) < 1


def test_the_baseline_learns_colours() -> None:
    histograms = np.eye(3).repeat(4, axis=0)
    captions = [f"a {colour} thing" for colour in ("red", "green", "blue") for _ in range(4)]
    baseline = RidgeBaseline(histograms, captions, np.arange(12))
    similarity = baseline.similarity(np.eye(3), ["green", "the blue one", "something red"])
    assert similarity.argmax(axis=0).tolist() == [1, 2, 0]


def test_a_model_that_knows_the_graphs_meets_every_threshold(
    items: list[CaptionedScene], fitting: np.ndarray
) -> None:
    rng = np.random.default_rng(0)
    noise = rng.random(fitting.shape)
    figures = measure(items, fitting + 0.5 * noise, noise)
    assert all(check.is_met for check in figures.checks), figures.checks
    # With ties broken at random, one draw must come near the expectation in closed form.
    ours, oracle = figures.model, figures.oracle
    assert ours.text_to_image.recall_at_1 == pytest.approx(
        oracle.text_to_image.recall_at_1, abs=2.5
    )
    assert ours.image_to_text.recall_at_1 == pytest.approx(oracle.image_to_text.recall_at_1, abs=5)


def test_a_model_that_knows_nothing_misses_its_thresholds(items: list[CaptionedScene]) -> None:
    rng = np.random.default_rng(1)
    shape = (len(items), sum(len(item.captions) for item in items))
    figures = measure(items, rng.random(shape), rng.random(shape))
    met = {check.name: check.is_met for check in figures.checks}
    assert met["oracle R@1"] and met["images"]
    assert sum(met.values()) == 2
    assert figures.model.text_to_image.recall_at_1 < 2


def test_a_small_split_is_not_enough(items: list[CaptionedScene]) -> None:
    few = [replace(item) for item in items[:20]]
    similarity = np.random.default_rng(2).random((20, 100))
    figures = measure(few, similarity, similarity)
    assert not next(check for check in figures.checks if check.name == "images").is_met


def test_the_command_prints_all_figures_and_fails_an_untrained_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {"train": 12, "dev": 0, "test": 6}
    write_scenes(tmp_path / "scenes", seed=0, image_counts=counts)
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    argv = ["--checkpoint", str(checkpoint), "--data", str(tmp_path / "scenes")]
    assert run_command("benchmarks.scenes", ScenesBenchmark, [*argv, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["image_count"] == 6 and printed["caption_count"] == 30
    for who in ("model", "oracle", "baseline"):
        for direction in ("image_to_text", "text_to_image"):
            recalls = list(printed[who][direction].values())
            assert len(recalls) == 3 and recalls == sorted(recalls)
    assert printed["precision_at_10"] <= printed["precision_at_10_ceiling"]
    assert run_command("benchmarks.scenes", ScenesBenchmark, argv) == 1
    assert "MISSED" in capsys.readouterr().out
