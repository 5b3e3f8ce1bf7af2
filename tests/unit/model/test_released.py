"""The authors' checkpoint files become an HREM, or are refused with a sentence."""

import argparse
import collections
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

from model.errors import CheckpointError
from model.hrem import HREM
from model.released import Assumptions, hrem_from_released, read_released

FIXTURES = Path(__file__).parents[2] / "parity/fixtures"
SCAN = FIXTURES / "scan"
VOCABULARY = SCAN / "tokenizer/vocab.txt"


@pytest.fixture
def stored():
    return torch.load(SCAN / "model_best.pth", weights_only=False)


def test_the_options_and_the_epoch_come_back():
    released = read_released(FIXTURES / "full/model_best.pth")
    assert released.options["nhead"] == 8
    assert released.epoch == 3
    assert released.best_rsum == 1.0


def test_sizes_come_from_the_shapes_and_every_weight_arrives():
    released = read_released(SCAN / "model_best.pth")
    hrem = hrem_from_released(SCAN / "model_best.pth", vocabulary=VOCABULARY)
    assert not hrem.training
    assert (hrem.dim, hrem.config.image.region_dim) == (96, 40)
    assert hrem.config.text.architecture["num_hidden_layers"] == 2
    linear = released.image_weights["fc.fc.weight"]
    assert torch.equal(hrem.image_encoder.projection.linear.weight, linear)
    word_rows = released.text_weights["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(hrem.text_encoder.words.bert.embeddings.word_embeddings.weight, word_rows)


def test_position_ids_of_old_files_are_dropped(tmp_path):
    released = read_released(FIXTURES / "full/model_best.pth")
    assert "bert.embeddings.position_ids" in released.text_weights
    count = len(released.text_weights["bert.embeddings.word_embeddings.weight"])
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(str, range(count - 5))]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    full = FIXTURES / "full/model_best.pth"
    assert hrem_from_released(full, vocabulary=tmp_path / "vocab.txt").dim == 64


def test_an_imported_network_is_saved_and_loaded_with_the_same_bits(tmp_path):
    hrem = hrem_from_released(SCAN / "model_best.pth", vocabulary=VOCABULARY)
    hrem.save_pretrained(tmp_path / "checkpoint")
    again = HREM.from_pretrained(tmp_path / "checkpoint")
    captions = ["a dog runs on grass", "two red cars ."]
    assert torch.equal(again.encode_captions(captions), hrem.encode_captions(captions))
    assert again.fingerprint == hrem.fingerprint


def test_a_hostile_checkpoint_is_refused_and_nothing_ran(tmp_path):
    proof = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return os.mkdir, (str(proof),)

    state = {"model": [{}, {}], "opt": Hostile(), "epoch": 1, "best_rsum": 0.0}
    with zipfile.ZipFile(tmp_path / "hostile.pth", "w") as archive:
        archive.writestr("model_best/data.pkl", pickle.dumps(state, protocol=2))
    with pytest.raises(CheckpointError, match="mkdir"):
        hrem_from_released(tmp_path / "hostile.pth", vocabulary=VOCABULARY)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s["model"][0].pop("fc.fc.weight"), "fc.fc.weight"),
        (lambda s: s["model"][0].pop("fc.fc.bias"), "do not fit"),
        (lambda s: s["model"][1].pop("linear.bias"), "do not fit"),
        (lambda s: s["model"][0].update({"aggr.layers.1.norm1.bias": torch.ones(2)}), "no place"),
        (lambda s: s["model"].pop(), "expected a released checkpoint"),
        (lambda s: s.pop("opt"), "expected a released checkpoint"),
        (lambda s: s.update(opt=argparse.Namespace(nhead=16)), "residual_weight"),
        (lambda s: s.update(opt=argparse.Namespace(nhead=7, residual_weight=0.8)), "multiple"),
        (lambda s: s["model"][0].update(rnn=3), "expected a released checkpoint"),
    ],
)
def test_what_is_no_such_checkpoint_is_refused(tmp_path, stored, spoil, message):
    assert isinstance(stored["model"][0], collections.OrderedDict)
    spoil(stored)
    torch.save(stored, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=message):
        hrem_from_released(tmp_path / "x.pth", vocabulary=VOCABULARY)


def test_a_vocabulary_of_another_length_and_wrong_heads_are_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text(VOCABULARY.read_text() + "more\n")
    with pytest.raises(CheckpointError, match="52 rows"):
        hrem_from_released(SCAN / "model_best.pth", vocabulary=tmp_path / "vocab.txt")
    with pytest.raises(CheckpointError, match="head count"):
        hrem_from_released(
            SCAN / "model_best.pth", vocabulary=VOCABULARY, assumed=Assumptions(text_heads=7)
        )
