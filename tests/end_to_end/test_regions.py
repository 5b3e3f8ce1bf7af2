"""Region features end to end: scenes in the SCAN layout -> train -> evaluate -> build -> serve."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from index_builder.commands.build import Build
from model.command_line import run_commands
from model.data.captioned_images import CaptionedImages
from model.data.scan import load_scan
from model.data.scenes.dataset import write_scenes
from model.hrem import HREM
from model.metrics import evaluate_retrieval, exact_scores
from model.training.evaluate import Evaluate
from model.training.train import Train
from tests.live_service import Service, start_service, stop_service
from tests.unit.data.layouts import write_scan
from tests.worlds import tiny_checkpoint

SETTINGS = (
    *("--dataset.minimum-word-count", 1, "--network.embedding-dim", 16),
    *("--network.head-count", 2, "--network.word-dim", 8, "--instance-level.head-count", 2),
    *("--schedule.batch-size", 8, "--schedule.steps", 6, "--schedule.evaluate-every", 3),
)


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command; return its status, stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    commands = {"train": Train, "evaluate": Evaluate, "build": Build}
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_commands("python -m model.training", commands, [str(a) for a in arguments])
    return status, out.getvalue(), err.getvalue()


def answer_of(*arguments: object) -> dict[str, Any]:
    status, out, err = run(*arguments, "--json")
    assert status == 0, err
    answer: dict[str, Any] = json.loads(out)
    return answer


def evaluated(checkpoint: Path, data: Path, *more: object) -> dict[str, Any]:
    return answer_of("evaluate", "--checkpoint", checkpoint, "--data", data, *more)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(folder, seed=3, image_counts={"train": 24, "dev": 6, "test": 12})
    return folder


@pytest.fixture(scope="module")
def checkpoint(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("run") / "regions"
    given = ("--data", scenes / "precomp", "--output", output, *SETTINGS)
    metrics = answer_of("train", *given)
    assert metrics["steps"] == 6
    assert metrics["dev"]["image_count"] == 6
    assert 0 < metrics["steps_with_instance_level"] < 6
    return output


@pytest.fixture(scope="module")
def index(scenes: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("indexes") / "regions"
    arrays = ("--images", scenes / "precomp" / "test_ims.npy")
    captions = ("--captions", scenes / "precomp" / "test_caps.txt")
    given = ("--checkpoint", checkpoint, *arrays, *captions, "--output", output)
    report = answer_of("build", *given)
    assert (report["images"]["count"], report["captions"]["count"]) == (12, 60)
    return output


@pytest.fixture(scope="module")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = start_service(index, tmp_path_factory.mktemp("service") / "stderr.txt")
    yield running
    stop_service(running)


@pytest.fixture(scope="module")
def images(scenes: Path) -> CaptionedImages:
    return load_scan(scenes / "precomp", ["test"])


@pytest.fixture(scope="module")
def embeddings(checkpoint: Path, images: CaptionedImages) -> tuple[np.ndarray, np.ndarray]:
    """Images and captions of the test split, encoded here."""
    hrem = HREM.from_pretrained(checkpoint)
    assert images.regions is not None
    batch = images.regions.read(np.arange(len(images)))
    return (
        hrem.encode_regions(batch.features, batch.counts.tolist()).numpy(),
        hrem.encode_captions(images.caption_texts).numpy(),
    )


def npy(array: np.ndarray) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def search(service: Service, regions: np.ndarray, **fields: Any) -> httpx.Response:
    return service.api.post(
        "/search/image",
        content=npy(regions),
        headers={"Content-Type": "application/x-npy"},
        params={"params": json.dumps(fields)},
    )


def test_the_checkpoint_is_of_regions_and_says_so(checkpoint: Path, scenes: Path) -> None:
    config = json.loads((checkpoint / "config.json").read_text())
    width = np.load(scenes / "precomp" / "train_ims.npy", mmap_mode="r").shape[2]
    assert (config["image"]["fragments"], config["image"]["region_dim"]) == ("regions", width)
    assert config["image"]["backbone"] is None
    assert "encode_regions" in (checkpoint / "README.md").read_text()


@pytest.mark.parametrize("target", ["captions", "images"])
def test_an_npy_query_finds_what_the_embeddings_say(
    service: Service,
    scenes: Path,
    images: CaptionedImages,
    embeddings: tuple[np.ndarray, np.ndarray],
    target: str,
) -> None:
    regions = np.load(scenes / "precomp" / "test_ims.npy")
    of_images, of_captions = map(torch.from_numpy, embeddings)
    found = of_captions if target == "captions" else of_images
    scores = exact_scores(of_images, found).numpy()
    for image in (0, 7):
        answer = search(service, regions[image], limit=100, target=target).raise_for_status()
        hits = answer.json()["results"][0]["hits"]
        # The query was encoded alone and without its padding: equal up to rounding.
        best_first = np.sort(scores[image])[::-1]
        np.testing.assert_allclose([hit["score"] for hit in hits], best_first, atol=1e-5)
        assert len(hits) == len(found)
        if target == "images":
            assert hits[0]["id"] == images.image_ids[image]
            assert hits[0]["image"] == {
                "id": images.image_ids[image],
                "url": None,
                "thumbnail_url": None,
                "width": None,
                "height": None,
            }
        else:
            score_of = {
                (images.image_ids[own], text): scores[image, place]
                for place, (own, text) in enumerate(
                    zip(images.caption_image, images.caption_texts, strict=True)
                )
            }
            for hit in hits:
                expected = score_of[hit["image_id"], hit["caption"]]
                assert hit["score"] == pytest.approx(expected, abs=1e-5)


def test_the_offset_of_a_page_stands_in_the_query_parameter(service: Service, scenes: Path) -> None:
    regions = np.load(scenes / "precomp" / "test_ims.npy")[2]
    whole, second = (
        search(service, regions, **page).raise_for_status().json()["results"][0]
        for page in ({"limit": 6}, {"limit": 3, "offset": 3})
    )
    assert [hit["id"] for hit in second["hits"]] == [hit["id"] for hit in whole["hits"]][3:]


def test_an_image_of_regions_has_no_picture_and_can_still_be_searched_with(
    service: Service, images: CaptionedImages
) -> None:
    first = images.image_ids[0]
    for address in (f"/images/{first}", f"/images/{first}/thumbnail"):
        answer = service.api.get(address)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_picture")
        assert "region features" in answer.json()["detail"]
    assert service.api.get("/images/nobody/thumbnail").json()["code"] == "unknown_item"
    body = {"image": {"id": first}, "target": "images", "limit": 1}
    (hit,) = service.api.post("/search/image", json=body).json()["results"][0]["hits"]
    assert hit["id"] == first


def test_recalls_through_the_api_equal_those_computed_offline(
    service: Service, checkpoint: Path, scenes: Path
) -> None:
    offline = evaluated(checkpoint, scenes / "precomp")
    live = answer_of("evaluate", "--endpoint", service.url, "--data", scenes / "precomp")
    assert live["rsum"] == pytest.approx(offline["rsum"])
    assert 0 < offline["rsum"] < 600


def test_the_dev_recalls_of_training_are_those_of_evaluate(checkpoint: Path, scenes: Path) -> None:
    dev = json.loads((checkpoint / "metrics.json").read_text())["dev"]
    again = evaluated(checkpoint, scenes / "precomp", "--split", "dev")
    for direction in ("image_to_text", "text_to_image"):
        assert dev[direction] == pytest.approx(again[direction])


def test_evaluate_reads_both_row_conventions_and_folds(
    checkpoint: Path,
    images: CaptionedImages,
    embeddings: tuple[np.ndarray, np.ndarray],
    tmp_path: Path,
) -> None:
    of_images, of_captions = map(torch.from_numpy, embeddings)
    caption_image = torch.from_numpy(images.caption_image)
    whole = evaluate_retrieval(of_images, of_captions, caption_image)
    assert images.regions is not None
    batch = images.regions.read(np.arange(len(images)))
    rows, counts = batch.features.repeat(5, 0), batch.counts.repeat(5)
    a_caption = write_scan(tmp_path, "testall", rows, images.caption_texts, counts=counts)
    report = evaluated(checkpoint, a_caption, "--split", "testall")
    assert report["folds"] == 1
    assert report["rsum"] == pytest.approx(whole.rsum)
    folded = evaluated(checkpoint, a_caption, "--split", "testall", "--folds", 3)
    assert (folded["folds"], folded["image_count"], folded["caption_count"]) == (3, 12, 60)
    parts = [
        evaluate_retrieval(of_images[i : i + 4], of_captions[own], caption_image[own] - i)
        for i in (0, 4, 8)
        for own in [(caption_image >= i) & (caption_image < i + 4)]
    ]
    assert folded["rsum"] == pytest.approx(sum(part.rsum for part in parts) / 3)
    page = tmp_path / "report.html"
    evaluated(checkpoint, a_caption, "--split", "testall", "--folds", 3, "--report", page)
    assert "mean of 3 folds" in page.read_text()


def test_regions_and_pictures_are_not_taken_for_each_other(
    checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    precomp = scenes / "precomp"
    of_pictures = tiny_checkpoint(tmp_path)
    array = ("--images", precomp / "test_ims.npy", "--output", tmp_path / "index")
    for given, said in (
        (
            ("evaluate", "--checkpoint", checkpoint, "--data", scenes),
            "was trained on region features and cannot read pictures",
        ),
        (
            ("evaluate", "--checkpoint", of_pictures, "--data", precomp),
            "was trained on pictures and cannot read region features",
        ),
        (
            ("build", "--checkpoint", of_pictures, *array),
            "was trained on pictures and cannot read region features",
        ),
        (
            ("evaluate", "--checkpoint", checkpoint, "--data", precomp, "--folds", "5"),
            "12 images cannot be cut into 5 equal folds",
        ),
    ):
        status, _, err = run(*given)
        assert status == 1
        assert said in err
        assert "Traceback" not in err


def test_settings_of_pictures_are_refused_for_regions_all_at_once(
    scenes: Path, tmp_path: Path
) -> None:
    given = ("--data", scenes / "precomp", "--output", tmp_path / "run", "--backbone", "somewhere")
    more = ("--network.grid-size", 3, "--augmentation.mirror", 0.5)
    status, _, err = run("train", *given, *more)
    assert status == 2
    for name in ("backbone", "network.grid_size", "augmentation.mirror"):
        assert f"{name}: is for pictures; these data are region features" in err
    assert not (tmp_path / "run").exists()
