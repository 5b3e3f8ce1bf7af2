"""A CLIP-like model end to end, before any training: build -> search -> serve; evaluate."""

import contextlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from index_builder.commands.build import Build
from index_builder.commands.search import Search
from index_builder.index_folder.versions import IndexFolder
from model.command_line import run_commands
from model.data.source import find_source
from model.dual_encoder import load_dual_encoder
from model.inputs.pictures import open_picture
from model.metrics import evaluate_retrieval, exact_scores
from model.training.evaluate import Evaluate
from service.app import create_app
from service.config import ServiceConfig
from tests.tiny_pretrained import tiny_pretrained
from tests.worlds import made_up_picture, write_world


def answer_of(*arguments: object) -> dict[str, Any]:
    """Run a command with --json and return its answer."""
    out, err = io.StringIO(), io.StringIO()
    commands = {"build": Build, "search": Search, "evaluate": Evaluate}
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run_commands("test", commands, [*(str(part) for part in arguments), "--json"])
    assert status == 0, err.getvalue()
    answer: dict[str, Any] = json.loads(out.getvalue())
    return answer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_photos_are_searched_with_a_network_that_nobody_trained_here(
    kind: str, world: Path, tmp_path: Path
) -> None:
    folder = tiny_pretrained(tmp_path, kind)
    (folder / "pytorch_model.bin").write_bytes(b"never read, never kept")
    encoder = load_dual_encoder(folder)
    index = tmp_path / "index"
    built = answer_of(
        *("build", "--checkpoint", folder, "--output", index, "--images", world / "images"),
        *("--captions", world / "captions.jsonl"),
    )
    assert (built["images"]["count"], built["captions"]["count"]) == (12, 60)
    # From here on the index stands alone.
    shutil.rmtree(folder)
    opened = IndexFolder(index).open()
    assert not (opened.checkpoint_path / "pytorch_model.bin").exists()
    assert opened.images is not None
    assert opened.images.manifest.preprocessing["image_size"] == 32

    queries = encoder.encode_captions(["a red circle"])
    hits = answer_of("search", index, "a red circle", "--limit", 3)["hits"]
    ids = [hit["id"] for hit in hits]
    vectors = torch.from_numpy(opened.images.vectors(ids))
    assert [hit["score"] for hit in hits] == exact_scores(queries, vectors)[0].tolist()

    app = create_app(ServiceConfig(index=index, device="cpu"))
    with TestClient(app, base_url="http://localhost") as client:
        served = client.post("/search/text", json={"query": "a red circle", "limit": 3}).json()
        assert [hit["id"] for hit in served["results"][0]["hits"]] == ids
        long = client.post("/search/text", json={"query": "a red circle " * 30}).json()
        assert long["results"][0]["warnings"] == ["caption_truncated"]
        content = io.BytesIO()
        made_up_picture(5).save(content, "PNG")
        found = client.post("/search/image", files={"file": ("5.png", content.getvalue())}).json()
        expected = encoder.encode_images([made_up_picture(5)])
        assert opened.captions is not None
        first = found["results"][0]["hits"][0]
        (vector,) = torch.from_numpy(opened.captions.vectors([first["id"]]))
        assert first["score"] == exact_scores(expected, vector[None]).item()
        assert client.get("/info").json()["encoder"] == encoder.name
        regions = io.BytesIO()
        np.save(regions, np.ones((3, 8), dtype=np.float32))
        refused = client.post(
            "/search/image",
            content=regions.getvalue(),
            headers={"Content-Type": "application/x-npy"},
        )
        assert refused.status_code == 422
        assert refused.json()["code"] == "unsupported_input"
    opened.close()


def test_a_pretrained_network_is_evaluated_like_our_own(world: Path, tmp_path: Path) -> None:
    folder = tiny_pretrained(tmp_path)
    told = answer_of("evaluate", "--checkpoint", folder, "--data", world, "--split", "train")
    data = find_source(world).load(["train"])
    encoder = load_dual_encoder(folder)
    report = evaluate_retrieval(
        encoder.encode_images([open_picture(path) for path in data.image_paths]),
        encoder.encode_captions(data.caption_texts),
        torch.from_numpy(data.caption_image),
    )
    assert told["checkpoint"] == encoder.fingerprint[:16]
    assert told["rsum"] == pytest.approx(report.rsum)
    assert told["image_to_text"]["recall_at_1"] == pytest.approx(report.image_to_text.recall_at_1)
