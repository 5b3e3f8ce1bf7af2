"""What a new network begins with."""

from pathlib import Path

import pytest
import torch

from model.hrem import HREM
from model.training.config import NetworkConfig
from model.training.network import make_network
from tests.worlds import BACKBONES, IMAGE_SIDE, captions_of

CAPTIONS = [caption for number in range(12) for caption in captions_of(number)]


def network(**settings: object) -> HREM:
    config = NetworkConfig(
        embedding_dim=16,
        head_count=2,
        word_dim=4,
        backbone_architecture=BACKBONES["resnet"],
        preprocessor={"image_size": IMAGE_SIDE},
        **settings,
    )
    return make_network(config, backbone=None, captions=CAPTIONS, minimum_word_count=1, seed=0)


def test_words_of_the_file_begin_with_its_vectors_and_the_others_at_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = tmp_path / "vectors.txt"
    vectors.write_text("red 1 2 3 4\nzebra 5 5 5 5\ncircle 6 7 8 9\n")
    plain, begun = network(), network(word_vectors=vectors)
    before = plain.text_encoder.words.embedding.weight
    after = begun.text_encoder.words.embedding.weight
    changed = (before != after).any(dim=1).nonzero().flatten().tolist()
    places = begun.tokenizer.vocabulary()
    assert sorted(changed) == sorted([places["red"], places["circle"]])
    assert after[places["circle"]].tolist() == [6, 7, 8, 9]
    assert after.requires_grad
    assert "2 of " in capsys.readouterr().err


def test_word_vectors_are_not_for_bert() -> None:
    with pytest.raises(ValueError, match="BERT has its own"):
        NetworkConfig(text="bert", text_encoder="somewhere", word_vectors=Path("v.txt"))


def test_the_same_seed_begins_with_the_same_weights() -> None:
    first, again = network().state_dict(), network().state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
