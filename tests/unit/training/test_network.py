"""What a new network begins with."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModel, ResNetConfig

from model.errors import CheckpointError
from model.hrem import HREM
from model.training.config import NetworkConfig
from model.training.network import continued_network, make_network
from tests.tiny_parts import write_tiny_backbone
from tests.worlds import BACKBONES, IMAGE_SIDE, captions_of, tiny_checkpoint

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


def test_a_run_may_begin_with_a_checkpoint(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path, is_frozen=True)
    kept = HREM.from_pretrained(checkpoint)
    for train_backbone in (None, False, True):
        begun = continued_network(checkpoint, train_backbone=train_backbone, region_dim=None)
        assert begun.training
        weights = begun.state_dict()
        assert all(torch.equal(value, weights[name]) for name, value in kept.state_dict().items())
        assert begun.tokenizer.to_json() == kept.tokenizer.to_json()
        assert begun.backbone is not None
        learns = {parameter.requires_grad for parameter in begun.backbone.parameters()}
        assert learns == {train_backbone is True}


def test_a_checkpoint_of_other_inputs_is_no_beginning(tmp_path: Path) -> None:
    checkpoint = tiny_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="reads pictures, but these data are region feat"):
        continued_network(checkpoint, train_backbone=None, region_dim=12)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "AttributeError"),
        ('{"image_mean": [0, 0, 0]}', "image_std"),
        ('{"size": 4}', "image_size: "),
    ],
)
def test_a_preprocessor_file_that_does_not_tell_is_named(
    tmp_path: Path, content: str, said: str
) -> None:
    write_tiny_backbone(tmp_path, "vit")
    (tmp_path / "preprocessor_config.json").write_text(content)
    config = NetworkConfig(embedding_dim=16, head_count=2)
    with pytest.raises(CheckpointError, match=f"how pictures become pixels .*{said}"):
        make_network(
            config, backbone=str(tmp_path), captions=CAPTIONS, minimum_word_count=1, seed=0
        )


@pytest.mark.parametrize("is_pretrained", [True, False])
def test_a_pretrained_backbone_learns_and_keeps_its_batch_norm_statistics(
    tmp_path: Path, is_pretrained: bool
) -> None:
    architecture = {name: v for name, v in BACKBONES["resnet"].items() if name != "model_type"}
    AutoModel.from_config(ResNetConfig(**architecture)).save_pretrained(tmp_path)
    config = NetworkConfig(
        embedding_dim=16,
        head_count=2,
        train_backbone=True,
        backbone_architecture=None if is_pretrained else BACKBONES["resnet"],
        preprocessor={"image_size": IMAGE_SIDE},
    )
    backbone = make_network(
        config,
        backbone=str(tmp_path) if is_pretrained else None,
        captions=CAPTIONS,
        minimum_word_count=1,
        seed=0,
    ).backbone
    assert backbone is not None
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    backbone(torch.randint(256, (4, 3, IMAGE_SIDE, IMAGE_SIDE), dtype=torch.uint8)).sum().backward()
    after = backbone.state_dict()
    statistics = [name for name in before if "running" in name]
    changed = [name for name in statistics if not torch.equal(before[name], after[name])]
    assert changed == ([] if is_pretrained else statistics)
    assert all(parameter.grad is not None for parameter in backbone.parameters())
