"""One evaluation of several checkpoints is that of the mean of their matrices."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model.command_line import load_settings, run_commands
from model.data.jsonl import load_jsonl
from model.encoders.pooling import unit_length
from model.errors import ConfigError, DataError
from model.hrem import HREM
from model.inputs.pictures import open_picture
from model.metrics import evaluate_retrieval, exact_scores, report_from_ranks
from model.training.ensemble import Embeddings, mean_similarity
from model.training.evaluate import Evaluate
from model.training.evaluation import encode_distinct
from model.training.stored_ranks import read_ranks
from tests.worlds import tiny_hrem, write_world


def run(*arguments: object) -> int:
    commands = {"evaluate": Evaluate}
    return run_commands("x", commands, ["evaluate", *(str(a) for a in arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a world and the checkpoints one, two (wider) and regions."""
    folder = tmp_path_factory.mktemp("ensemble")
    write_world(folder / "data", image_count=24)
    tiny_hrem(seed=0).save_pretrained(folder / "one")
    tiny_hrem(seed=1, embedding_dim=24).save_pretrained(folder / "two")
    tiny_hrem(seed=2, backbone=None).save_pretrained(folder / "regions")
    return folder


def embeddings(images: int, captions: int, dim: int) -> Embeddings:
    return Embeddings(
        unit_length(torch.randn(images, dim)), unit_length(torch.randn(captions, dim))
    )


@pytest.mark.parametrize("dims", [(8, 8), (5, 16, 9)])
def test_products_of_the_joined_rows_are_the_mean_of_the_matrices(dims: tuple[int, ...]) -> None:
    parts = [embeddings(12, 30, dim) for dim in dims]
    parts[0].captions[7] = parts[0].captions[3]
    joined = mean_similarity(parts)
    mean = torch.stack([exact_scores(part.images, part.captions) for part in parts]).mean(dim=0)
    torch.testing.assert_close(exact_scores(joined.images, joined.captions), mean)
    torch.testing.assert_close(joined.images.norm(dim=1), torch.ones(12))


def test_one_checkpoint_comes_back_bit_for_bit_and_equal_texts_tie_in_a_mean() -> None:
    part, other = embeddings(6, 9, 33), embeddings(6, 9, 17)
    assert mean_similarity([part]) is part
    for either in (part, other):
        either.captions[8] = either.captions[2]
    joined = mean_similarity([part, other])
    scores = exact_scores(joined.images, joined.captions)
    assert torch.equal(scores[:, 8], scores[:, 2])


def test_the_command_evaluates_the_mean_and_names_the_checkpoints(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--data", folder / "data", "--split", "all")
    both = ("--checkpoint", folder / "one", "--checkpoint", folder / "two")
    assert run(*both, *given, "--json") == 0
    said = json.loads(capsys.readouterr().out)

    images = load_jsonl(folder / "data" / "images", folder / "data" / "captions.jsonl")
    pictures = [open_picture(path) for path in images.image_paths]
    encoders = [HREM.from_pretrained(folder / name) for name in ("one", "two")]
    parts = [
        Embeddings(
            e.encode_images(pictures), encode_distinct(e.encode_captions, images.caption_texts)
        )
        for e in encoders
    ]
    owner = torch.from_numpy(images.caption_image)
    mean = mean_similarity(parts)
    assert said["rsum"] == evaluate_retrieval(mean.images, mean.captions, owner).rsum
    for part in parts:
        assert said["rsum"] != evaluate_retrieval(part.images, part.captions, owner).rsum
    assert said["checkpoints"] == [e.fingerprint[:16] for e in encoders]
    assert said["similarity"] == "mean"
    assert run(*both, *given) == 0
    shown = capsys.readouterr().out
    assert f"\nmean of 2 checkpoints: {folder / 'one'}, {folder / 'two'}" in shown
    assert f"rSum {said['rsum']:.1f}" in shown


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("regions", "reads pictures but .* reads region features"),
        ("one", "are the same network; name each checkpoint once"),
        ("nothing", "no checkpoint at"),
    ],
)
def test_checkpoints_that_cannot_be_averaged_are_one_sentence_before_any_work(
    folder: Path, capsys: pytest.CaptureFixture[str], second: str, said: str
) -> None:
    both = ("--checkpoint", folder / "one", "--checkpoint", folder / second)
    assert run(*both, "--data", folder / "data") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(said, line)


def test_checkpoints_are_named_alike_in_flags_files_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(*arguments: str) -> tuple[str, ...]:
        return load_settings("x", Evaluate, arguments).checkpoint

    assert named() == ()
    assert named("--checkpoint", "a") == ("a",)
    assert named("--checkpoint", "a", "--checkpoint", "b") == ("a", "b")
    for text, expected in (('"a"', ("a",)), ('["a", "b,c"]', ("a", "b,c"))):
        (tmp_path / "c.toml").write_text(f"checkpoint = {text}\n")
        assert named("--config", str(tmp_path / "c.toml")) == expected
    for text, expected in (("a", ("a",)), ("a,b", ("a", "b")), ('["a", "b,c"]', ("a", "b,c"))):
        monkeypatch.setenv("HREM_CHECKPOINT", text)
        assert named() == expected
    monkeypatch.setenv("HREM_CHECKPOINT", '["a"')
    with pytest.raises(ConfigError, match="no JSON list"):
        named()


def test_stored_ranks_are_those_of_the_evaluation(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ranks.npz"
    given = ("--checkpoint", folder / "one", "--data", folder / "data", "--split", "dev")
    assert run(*given, "--ranks", path, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    stored = read_ranks(path)
    report = report_from_ranks(
        torch.from_numpy(stored.ranks.image_to_text), torch.from_numpy(stored.ranks.text_to_image)
    )
    assert report.rsum == said["rsum"]
    assert stored.checkpoints == (HREM.from_pretrained(folder / "one").fingerprint,)
    facts = stored.facts
    assert facts.caption_image.tolist() == np.repeat(np.arange(4), 5).tolist()
    assert facts.counted_in == "the 80 captions of split train"
    assert facts.neighbour_similarity.shape == (4,)
    # "picture-04" and the like: every fifth caption ends in a number, which is no word.
    assert facts.rarest_word_counts.max() <= 80
    assert path.stat().st_size < 4000


def test_a_fusion_and_a_standalone_are_called_full_and_nothing_else_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both: list[object] = []
    for name, mechanism in (("one", "fusion"), ("two", "standalone")):
        shutil.copytree(folder / name, tmp_path / name)
        (tmp_path / name / "training").mkdir()
        level = {"instance_level": {"enabled": True, "mechanism": mechanism}}
        (tmp_path / name / "training" / "settings.json").write_text(json.dumps(level))
        both += ["--checkpoint", tmp_path / name]
    page = tmp_path / "page.html"
    given = (*both, "--data", folder / "data", "--report", page)
    assert run(*given) == 0
    assert "\nFull*, mean of 2 checkpoints: " in capsys.readouterr().out
    assert "Full*: the mean of the similarity" in page.read_text()
    assert run(*given, "--json") == 0
    assert json.loads(capsys.readouterr().out)["similarity"] == "mean (Full*)"
    level = {"instance_level": {"enabled": False, "mechanism": "standalone"}}
    (tmp_path / "two" / "training" / "settings.json").write_text(json.dumps(level))
    assert run(*given) == 0
    assert "Full*" not in capsys.readouterr().out + page.read_text()


def test_two_models_are_compared_on_the_same_queries(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.npz"
    given = ("--data", folder / "data", "--split", "dev")
    assert run("--checkpoint", folder / "one", *given, "--ranks", path, "--json") == 0
    one = json.loads(capsys.readouterr().out)["rsum"]
    assert run("--checkpoint", folder / "two", *given, "--compare", path, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    rsum = said["difference"]["rsum"]
    assert rsum["estimate"] == pytest.approx(said["rsum"] - one)
    assert rsum["low"] <= rsum["estimate"] <= rsum["high"]
    assert len(said["difference"]) == 7
    page = tmp_path / "report.html"
    compared = ("--compare", path, "--report", page)
    assert run("--checkpoint", folder / "two", *given, *compared) == 0
    shown = capsys.readouterr().out
    assert "text → image R@10" in shown
    assert shown.count("how far another seed would move either model is not in it") == 1
    html = page.read_text()
    assert "Minus one.npz" in html and "how far another seed" in html
    # A model against itself: an interval without width would look like certainty.
    assert run("--checkpoint", folder / "one", *given, "--compare", path) == 0
    same = [line for line in capsys.readouterr().out.splitlines() if "+0.0" in line]
    assert len(same) == 7 and not any("[" in line for line in same)
    assert "`" not in html
    row = '<th scope="row">{}</th><td>{:+.1f}</td><td>{:+.1f}</td><td>{:+.1f}</td>'
    assert row.format("rsum", rsum["estimate"], rsum["low"], rsum["high"]) in html
    assert html.count('<th scope="row">text → image R@') == 3


def test_ranks_of_other_data_are_not_compared(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "one.npz"
    given = ("--checkpoint", folder / "one", "--data", folder / "data")
    assert run(*given, "--split", "dev", "--ranks", path) == 0
    assert run(*given, "--split", "test", "--compare", path) == 1
    assert "ranks of other images or captions" in capsys.readouterr().err
    assert run(*given, "--split", "test", "--folds", "2", "--compare", path) == 2


def test_words_are_counted_where_they_can_be(folder: Path, tmp_path: Path) -> None:
    rows = (folder / "data" / "captions.jsonl").read_text().replace('"train"', '"other"')
    (tmp_path / "captions.jsonl").write_text(rows)
    given = ("--images", folder / "data" / "images", "--captions", tmp_path / "captions.jsonl")
    path = tmp_path / "ranks.npz"
    assert run("--checkpoint", folder / "one", *given, "--split", "all", "--ranks", path) == 0
    assert read_ranks(path).facts.counted_in == "the 120 evaluated captions"


def test_outputs_that_cannot_be_are_told_before_anything_is_loaded(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = ("--ranks", tmp_path / "a.npy", "--report", tmp_path / "none" / "a.html")
    assert run("--endpoint", "http://127.0.0.1:1", "--data", folder / "data", *outputs) == 2
    said = capsys.readouterr().err
    assert said.count("a live service tells no embeddings") == 2
    assert "ends in .npz" in said
    assert "there is no folder" in said


def test_a_file_that_holds_no_ranks_is_one_sentence(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04 torn", b"\x93NUMPY", b"<html>"):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(DataError, match="holds no ranks") as refused:
            read_ranks(tmp_path / "x.npz")
        assert "pickle" not in str(refused.value)
    with pytest.raises(DataError, match="holds no ranks"):
        read_ranks(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(DataError, match="holds no ranks"):
        read_ranks(tmp_path / "other.npz")
