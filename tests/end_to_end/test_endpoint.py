"""R@K of a live service, measured by a process that sees only JSON, against `evaluate` offline."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from index_builder.build import build_index
from model.data.jsonl import load_jsonl
from model.retries import Retries
from model.training.endpoint import Endpoint, EndpointError, evaluate_endpoint, rank_of
from tests.live_service import Service, start_service, stop_service
from tests.scripted_server import Reply, scripted_server
from tests.worlds import tiny_checkpoint, write_world

RECALLS = ("recall_at_1", "recall_at_5", "recall_at_10")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Thirty pictures of twelve kinds: many captions are equal, so ties decide ranks.
    return write_world(tmp_path_factory.mktemp("world"), image_count=30, splits=("test",))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("network"))


@pytest.fixture(scope="module")
def service(
    world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("index")
    build_index(
        checkpoint=checkpoint,
        images=world / "images",
        captions=world / "captions.jsonl",
        output=folder / "index",
    )
    running = start_service(folder / "index", folder / "stderr.txt")
    yield running
    stop_service(running)


def evaluated(world: Path, *arguments: object) -> dict[str, Any]:
    command = ["-m", "model.training", "evaluate", "--data", str(world), "--split", "test"]
    done = subprocess.run(
        [sys.executable, *command, *map(str, arguments), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_recalls_through_the_api_equal_those_computed_offline(
    world: Path, checkpoint: Path, service: Service
) -> None:
    offline = evaluated(world, "--checkpoint", checkpoint)
    live = evaluated(world, "--endpoint", service.url)
    assert live["caption_count"] == offline["caption_count"] == 150
    for direction in ("image_to_text", "text_to_image"):
        for recall in RECALLS:
            assert f"{live[direction][recall]:.1f}" == f"{offline[direction][recall]:.1f}"
    assert f"{live['rsum']:.1f}" == f"{offline['rsum']:.1f}"
    assert 0 < offline["rsum"] < 600


def test_an_index_of_other_pictures_is_noticed(service: Service, tmp_path: Path) -> None:
    lines = (write_world(tmp_path, image_count=3) / "captions.jsonl").read_text().splitlines()
    renamed = [json.loads(line) | {"id": f"other-{n}"} for n, line in enumerate(lines)]
    (tmp_path / "captions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in renamed))
    others = load_jsonl(tmp_path / "images", tmp_path / "captions.jsonl")
    with pytest.raises(EndpointError, match="none of these images"):
        evaluate_endpoint(Endpoint(service.url), others)


def test_a_service_that_is_not_there_or_refuses_is_told(service: Service) -> None:
    with pytest.raises(EndpointError, match="cannot be asked"):
        Endpoint("http://127.0.0.1:9").search_texts(["a red circle"])
    with pytest.raises(EndpointError, match="answered 422"):
        Endpoint(service.url).search_texts(["  "])
    with pytest.raises(EndpointError, match="is no address"):
        Endpoint("ftp://127.0.0.1").search_texts(["a red circle"])
    with pytest.raises(EndpointError, match="cannot be asked"):
        Endpoint("http://127.0.0.1:port").search_texts(["a red circle"])


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"results": [1]}', b'{"results": []}'])
def test_an_answer_of_something_else_is_told(body: bytes) -> None:
    told = pytest.raises(EndpointError, match="cannot be asked")
    with scripted_server(Reply(body=body)) as server, told:
        Endpoint(server.url).search_texts(["a dog"])


@pytest.mark.parametrize(
    ("scores_and_ids", "rank"),
    [
        ([(0.9, "own"), (0.5, "b")], 0),
        ([(0.9, "b"), (0.9, "own")], 1),
        ([(0.9, "own"), (0.9, "b")], 1),
        ([(0.9, "b"), (0.8, "own"), (0.8, "own"), (0.8, "c")], 2),
        ([(0.9, "a"), (0.8, "b")], 2),
    ],
)
def test_ties_with_others_count_against_us(
    scores_and_ids: list[tuple[float, str]], rank: int
) -> None:
    hits = [{"score": score, "id": item_id} for score, item_id in scores_and_ids]
    assert rank_of(hits, "own", "id") == rank


ANSWERED = Reply(body=b'{"results": [{"query_index": 0, "hits": []}]}')


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_refuses_for_now_is_asked_again_when_it_says(status):
    refused = Reply(status, headers={"Retry-After": "1"})
    with scripted_server(refused, ANSWERED) as server:
        assert Endpoint(server.url).search_texts(["a dog"]) == [[]]
    first, second = server.asked
    assert second.at_s - first.at_s >= 1
    assert second.body == first.body


def test_a_service_that_goes_on_refusing_is_told_of():
    refused = Reply(503, b"busy", {"Retry-After": "60"})
    with scripted_server(refused) as server, pytest.raises(EndpointError, match="503: busy"):
        Endpoint(server.url, retries=Retries(deadline_s=5)).search_texts(["a dog"])
    assert len(server.asked) == 1


def test_other_refusals_are_told_at_once():
    with scripted_server(Reply(404, headers={"Retry-After": "1"}), ANSWERED) as server:
        with pytest.raises(EndpointError, match="404"):
            Endpoint(server.url).search_texts(["a dog"])
        assert len(server.asked) == 1
