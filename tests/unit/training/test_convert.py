"""`convert`: a released file becomes a checkpoint with the same embeddings, or is refused."""

import argparse
import builtins
import functools
import json
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from model.command_line import run_commands
from model.hrem import HREM
from model.metrics import evaluate_retrieval
from model.released import Assumptions
from model.training.convert import Convert
from tests.parity import slow_reference as slow

SCAN = Path(__file__).parents[2] / "parity/fixtures/scan"
CAPTIONS = ["a dog on grass", "A Red circle sits in the park near two old cars ."]


def convert(*arguments: object) -> int:
    given = ["convert", *map(str, arguments)]
    return run_commands("python -m model.training", {"convert": Convert}, given)


def convert_scan(output: Path, *more: object, tokenizer: object = SCAN / "tokenizer") -> Path:
    given = ("--upstream", SCAN / "model_best.pth", "--tokenizer", tokenizer, "--output", output)
    assert convert(*given, *more) == 0
    return output


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_scan(tmp_path_factory.mktemp("scan") / "checkpoint", "--text-heads", 12)


# ---- what comes out -----------------------------------------------------------------------------


def test_the_converted_checkpoint_has_the_recorded_embeddings_and_recalls(converted: Path) -> None:
    hrem = HREM.from_pretrained(converted)
    features = np.load(SCAN / "f30k_precomp/test_ims.npy")
    captions = (SCAN / "f30k_precomp/test_caps.txt").read_text().splitlines()
    with np.load(SCAN / "official_embeddings.npz") as stored:
        recorded = {name: torch.from_numpy(stored[name]) for name in ("image", "caption")}
    official = json.loads((SCAN / "official_result.json").read_text())

    images, texts = hrem.encode_regions(features), hrem.encode_captions(captions)

    for ours, theirs in ((images, recorded["image"]), (texts, recorded["caption"])):
        assert ours.shape == theirs.shape
        # Unit rows: |a - b| <= 1e-4 * max(1, |b|) is 1e-4.
        assert float((ours - theirs).abs().max()) <= 1e-4
    caption_image = torch.arange(len(captions)) // (len(captions) // len(features))
    report = evaluate_retrieval(images, texts, caption_image)
    for found, key in ((report.image_to_text, "i2t"), (report.text_to_image, "t2i")):
        figures = (found.recall_at_1, found.recall_at_5, found.recall_at_10)
        assert [*figures, found.median_rank, found.mean_rank] == pytest.approx(official[key], 1e-12)
    assert report.rsum == pytest.approx(official["rsum"], 1e-12)


def test_the_folder_tells_where_it_comes_from(converted: Path) -> None:
    metrics = json.loads((converted / "metrics.json").read_text())
    assert metrics["source"]["file"] == "model_best.pth"
    assert len(metrics["source"]["sha256"]) == 64
    assert metrics["found"]["epoch"] == 1
    assert metrics["found"]["best_rsum"] == 0.0
    assert metrics["found"]["relation_heads"] == 16
    assert metrics["fingerprint"] == HREM.from_pretrained(converted).fingerprint
    card = (converted / "README.md").read_text()
    assert metrics["source"]["sha256"] in card
    for name, value in metrics["assumed"].items():
        assert f"- {name.replace('_', ' ')}: {value}" in card
    assert (converted / "preprocessor.json").read_text() == "null\n"


def test_every_assumption_is_told_with_its_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    convert_scan(tmp_path / "x", "--json")
    told = capsys.readouterr()
    assert "assumed  text heads = 12 (not in the file; --text-heads)\n" in told.err
    assert "found    pooling weight = 0.8\n" in told.err
    for name in Assumptions.model_fields.keys() - {"word_split"}:
        assert f"(not in the file; --{name.replace('_', '-')})" in told.err
    assert json.loads(told.out) == json.loads((tmp_path / "x/metrics.json").read_text())


@pytest.mark.parametrize(
    "given",
    [
        ("--text-heads", 6),
        ("--text-activation", "relu"),
        ("--text-layer-norm-eps", 0.1),
        ("--max-word-count", 5),
        ("--no-lower-case",),
        ("--pooling-top-k", 1),
    ],
    ids=lambda given: given[0],
)
def test_every_assumption_reaches_the_network(
    tmp_path: Path, converted: Path, given: tuple[object, ...]
) -> None:
    usual = HREM.from_pretrained(converted).encode_captions(CAPTIONS)
    other = HREM.from_pretrained(convert_scan(tmp_path / "x", *given)).encode_captions(CAPTIONS)
    assert float((usual - other).abs().max()) > 1e-4


def test_a_tokenizer_json_says_what_a_vocabulary_does_not(
    tmp_path: Path, converted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = convert_scan(tmp_path / "x", tokenizer=converted / "tokenizer")
    assert "lower case" not in capsys.readouterr().err
    usual = HREM.from_pretrained(converted)
    assert HREM.from_pretrained(again).fingerprint == usual.fingerprint


# ---- what is refused ----------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], output: Path, *arguments: object) -> str:
    """Return the one sentence with which a conversion was refused; nothing was written."""
    before = sorted(output.parent.rglob("*"))
    assert convert(*arguments, "--output", output) == 1
    told = capsys.readouterr()
    assert told.out == ""
    sentence = [line for line in told.err.splitlines() if not line.startswith("converting  ")]
    assert len(sentence) == 1
    assert sentence[0].startswith("error: ")
    assert sorted(output.parent.rglob("*")) == before
    return sentence[0]


def test_a_used_output_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--upstream", SCAN / "model_best.pth", "--tokenizer", SCAN / "tokenizer")
    used = tmp_path / "used"
    used.mkdir()
    (used / "note.txt").write_text("mine")
    assert "exists already" in refused(capsys, used, *given)
    assert "exists already" in refused(capsys, used / "note.txt", *given)
    assert (used / "note.txt").read_text() == "mine"
    (tmp_path / "empty").mkdir()
    convert_scan(tmp_path / "empty")
    assert HREM.from_pretrained(tmp_path / "empty").dim == 96
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "used"]


def test_a_write_that_fails_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A finished folder cannot be renamed over a link.
    (tmp_path / "empty").mkdir()
    (tmp_path / "x").symlink_to("empty")
    given = ("--upstream", SCAN / "model_best.pth", "--tokenizer", SCAN / "tokenizer")
    assert convert(*given, "--output", tmp_path / "x") == 1
    assert "Traceback" not in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["empty", "x"]


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [
        ("no/such-model", "could not be fetched from the model hub"),
        ("./none", "no vocabulary at './none'"),
        (str(SCAN), "no vocabulary in the folder"),
        (str(SCAN / "official_result.json"), "is no vocabulary of a BERT"),
    ],
)
def test_a_tokenizer_that_is_not_there_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tokenizer: str, said: str
) -> None:
    given = ("--upstream", SCAN / "model_best.pth", "--tokenizer", tokenizer)
    assert said in refused(capsys, tmp_path / "x", *given)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"\xff\xfe", "no text in UTF-8"),
        (b"[PAD]\n[UNK]\na\n", r"no [CLS], [SEP]"),
        (b"[PAD]\n[UNK]\n[CLS]\n[SEP]\na\n", "has 52 rows"),
    ],
)
def test_a_vocabulary_of_another_model_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: bytes, said: str
) -> None:
    (tmp_path / "vocab.txt").write_bytes(text)
    given = ("--upstream", SCAN / "model_best.pth", "--tokenizer", tmp_path)
    assert said in refused(capsys, tmp_path / "x", *given)


@pytest.mark.parametrize(
    ("given", "said"),
    [(("--text-heads", 7), "multiple of 7"), (("--max-word-count", 41), "has 40 positions")],
)
def test_assumptions_that_do_not_fit_the_weights_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: tuple[object, ...], said: str
) -> None:
    source = ("--upstream", SCAN / "model_best.pth", "--tokenizer", SCAN / "tokenizer")
    assert said in refused(capsys, tmp_path / "x", *source, *given)


# ---- hostile files ------------------------------------------------------------------------------


class Call:
    """Pickles into a call of anything; `state` is what BUILD hands to the result."""

    def __init__(self, function: Any, *args: object, state: object = None) -> None:
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced

    def __call__(self) -> None:
        """Let pickle take it for a function."""


class Storage:
    """Pickles into a persistent reference."""

    def __init__(self, *pid: object) -> None:
        self.pid = pid


class ArchivePickler(pickle.Pickler):
    """Writes `Storage` as torch writes storages."""

    def persistent_id(self, value: object) -> object:
        return value.pid if isinstance(value, Storage) else None


def write_released(path: Path, content: object, storages: dict[str, bytes] | None = None) -> bytes:
    """Write a file in torch's layout and return its pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("model_best/data.pkl", "w") as file:
            ArchivePickler(file, protocol=2).dump(content)
        for key, stored in (storages or {}).items():
            archive.writestr(f"model_best/data/{key}", stored)
        pickled = archive.read("model_best/data.pkl")
    return pickled


def released(**changes: object) -> dict[str, object]:
    whole = {"model": [{}, {}], "opt": argparse.Namespace(nhead=2), "epoch": 1, "best_rsum": 0.0}
    return whole | changes


def payloads(proof: str) -> dict[str, dict[str, object]]:
    """Return released checkpoints that make the folder `proof` when they are unpickled."""
    make = f"__import__('os').mkdir({proof!r})"
    system = Call(os.system, f'mkdir "{proof}"')
    # BUILD calls partial.__setstate__, which turns a harmless partial into another one.
    rebuilt = Call(functools.partial, print, state=(os.mkdir, (proof,), {}, None))
    return {
        "os.system": released(model=system),
        "eval": released(best_rsum=Call(builtins.eval, make)),
        "exec": released(epoch=Call(builtins.exec, make)),
        "subprocess": released(model=[Call(subprocess.call, ["mkdir", proof]), {}]),
        "nested in opt": released(opt=argparse.Namespace(nhead=2, schedule=[15, {"x": system}])),
        "a key": released(model=[{Call(os.mkdir, proof): 1}, {}]),
        "BUILD": released(opt=Call(rebuilt)),
        "a storage's type": released(
            model=[{"w": Storage("storage", Call(os.mkdir, proof), "0", "cpu", 4)}, {}]
        ),
    }


@pytest.mark.parametrize("kind", payloads("x"))
def test_a_hostile_file_is_refused_and_nothing_ran(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    proof = tmp_path / "ran"
    pickled = write_released(tmp_path / "hostile.pth", payloads(str(proof))[kind])

    given = ("--upstream", tmp_path / "hostile.pth", "--tokenizer", SCAN / "tokenizer")
    assert "nothing was run" in refused(capsys, tmp_path / "x", *given)

    assert not proof.exists()
    # The same bytes do run where a pickle is trusted, so the line above proves something.
    unpickle = (
        "import pickle, io, sys\n"
        "class Trusting(pickle.Unpickler):\n"
        "    def persistent_load(self, pid): return pid\n"
        "Trusting(io.BytesIO(sys.stdin.buffer.read())).load()"
    )
    subprocess.run([sys.executable, "-c", unpickle], input=pickled, timeout=60, check=True)
    assert proof.is_dir()


@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (("storage", torch.ComplexFloatStorage, "0", "cpu", 4), "ComplexFloatStorage"),
        (("storage", torch.FloatStorage, "0", "cpu", 10**15), "not 1000000000000000 values"),
        (("storage", torch.FloatStorage, "../../etc/passwd", "cpu", 4), "damaged"),
        (("storage", "FloatStorage", "0", "cpu", True), "not True values"),
        (("module", torch.FloatStorage, "0", "cpu", 4), "unknown kind of reference"),
    ],
)
def test_a_storage_that_is_none_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], storage: tuple[object, ...], said: str
) -> None:
    weights = {"w": Storage(*storage)}
    write_released(tmp_path / "x.pth", released(model=[weights, {}]), {"0": bytes(16)})
    given = ("--upstream", tmp_path / "x.pth", "--tokenizer", SCAN / "tokenizer")
    assert said in refused(capsys, tmp_path / "x", *given)


# ---- a BiGRU for captions -----------------------------------------------------------------------

DIM, WORD_DIM, REGION_DIM = 16, 5, 7
WORDS = ["<pad>", "<start>", "<end>", "<unk>", "a", "dog", "'s", "is", "n't", "red", ".", "two-way"]


def write_bigru(folder: Path, **options: object) -> tuple[dict[str, torch.Tensor], ...]:
    """Write a released checkpoint with a BiGRU and its vocabulary; return its two states."""
    level = nn.TransformerEncoderLayer(DIM, 2, dim_feedforward=DIM)
    parts = {
        "fc.fc.": nn.Linear(REGION_DIM, DIM),
        "fc.mlp.layers.0.": nn.Linear(REGION_DIM, DIM // 2),
        "fc.mlp.bns.0.": nn.BatchNorm1d(DIM // 2),
        "fc.mlp.layers.1.": nn.Linear(DIM // 2, DIM),
        "aggr.layers.0.": level,
    }
    texts = {
        "embed.": nn.Embedding(len(WORDS), WORD_DIM),
        "rnn.": nn.GRU(WORD_DIM, DIM, batch_first=True, bidirectional=True),
        "aggr.layers.0.": nn.TransformerEncoderLayer(DIM, 2, dim_feedforward=DIM),
    }
    states = [
        {prefix + name: w for prefix, part in side.items() for name, w in part.state_dict().items()}
        for side in (parts, texts)
    ]
    opt = argparse.Namespace(nhead=2, residual_weight=0.7, **options)
    whole = {"model": states, "opt": opt, "epoch": 4, "best_rsum": 1.5}
    torch.save(whole, folder / "model_best.pth")
    ids = {word: place for place, word in enumerate(WORDS)}
    vocabulary = {"word2idx": ids, "idx2word": dict(enumerate(WORDS)), "idx": len(WORDS)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return tuple(states)


def bigru_arguments(folder: Path) -> tuple[object, ...]:
    return ("--upstream", folder / "model_best.pth", "--tokenizer", folder / "vocab.json")


def test_a_bigru_encodes_as_the_equations_say_with_the_files_own_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image_state, text_state = write_bigru(tmp_path)
    assert convert(*bigru_arguments(tmp_path), "--output", tmp_path / "x") == 0
    told = capsys.readouterr().err
    assert "found    text = bigru" in told
    assert "assumed  word split = treebank (not in the file; --word-split)\n" in told
    assert "text heads" not in told
    hrem = HREM.from_pretrained(tmp_path / "x")

    captions = ["A dog's", "a two-way dog isn't red ."]
    token_ids = [[1, 4, 5, 6, 2], [1, 4, 11, 5, 7, 8, 9, 10, 2]]
    for ids, embedding in zip(token_ids, hrem.encode_captions(captions), strict=True):
        words = slow.bigru(text_state, "embed.weight", "rnn.", ids)
        pooled = slow.pool(text_state, "aggr.layers.0.", words, head_count=2, pooling_weight=0.7)
        torch.testing.assert_close(embedding.double(), slow.unit(pooled), atol=1e-5, rtol=0)

    regions = torch.randn(2, 3, REGION_DIM)
    names = {
        "linear": "fc.fc.",
        "hidden": "fc.mlp.layers.0.",
        "batch_norm": "fc.mlp.bns.0.",
        "output": "fc.mlp.layers.1.",
    }
    for image, embedding in zip(regions, hrem.encode_regions(regions), strict=True):
        projected = [slow.project_region(image_state, names, r.double()) for r in image]
        pooled = slow.pool(
            image_state, "aggr.layers.0.", projected, head_count=2, pooling_weight=0.7
        )
        torch.testing.assert_close(embedding.double(), slow.unit(pooled), atol=1e-5, rtol=0)


def test_a_bigrus_captions_split_as_asked(tmp_path: Path) -> None:
    write_bigru(tmp_path)
    given = (*bigru_arguments(tmp_path), "--output", tmp_path / "x", "--word-split", "whitespace")
    assert convert(*given) == 0
    hrem = HREM.from_pretrained(tmp_path / "x")
    assert hrem.tokenizer.encode(["a dog's"]) == [[1, 4, 3, 2]]


def test_weights_of_several_gpus_are_the_same_weights(tmp_path: Path) -> None:
    write_bigru(tmp_path)
    assert convert(*bigru_arguments(tmp_path), "--output", tmp_path / "x") == 0
    stored = torch.load(tmp_path / "model_best.pth", weights_only=False)
    for place, state in enumerate(stored["model"]):
        stored["model"][place] = {f"module.{name}": weight for name, weight in state.items()}
    torch.save(stored, tmp_path / "model_best.pth")
    assert convert(*bigru_arguments(tmp_path), "--output", tmp_path / "y") == 0
    fingerprints = [HREM.from_pretrained(tmp_path / name).fingerprint for name in ("x", "y")]
    assert fingerprints[0] == fingerprints[1]


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [
        ("[1]", "no word2idx"),
        ("no json", "cannot be read as JSON"),
        ('{"word2idx": {"<pad>": 0, "a": "1"}}', "a number for each word"),
        ('{"word2idx": {"<pad>": 0, "a": 2}}', "not 0 to 1"),
        ('{"word2idx": {"<pad>": 0, "a": 1}}', "no <unk>, <start>, <end>"),
        ('{"word2idx": {"<pad>": 0, "<unk>": 1, "<start>": 2, "<end>": 3}}', "has 12 rows"),
    ],
)
def test_a_vocabulary_that_is_not_the_bigrus_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], vocabulary: str, said: str
) -> None:
    write_bigru(tmp_path)
    (tmp_path / "vocab.json").write_text(vocabulary)
    assert said in refused(capsys, tmp_path / "x", *bigru_arguments(tmp_path))


@pytest.mark.parametrize("option", ["no_imgnorm", "no_txtnorm"])
def test_a_network_without_unit_length_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    write_bigru(tmp_path, **{option: True})
    assert f"opt.{option}" in refused(capsys, tmp_path / "x", *bigru_arguments(tmp_path))
