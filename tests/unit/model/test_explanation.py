"""Laws of an explanation: it sums to the score, and belongs to its own pair alone."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.config import FragmentLevelConfig, PreprocessorConfig, TextEncoderConfig
from model.dual_encoder import load_dual_encoder
from model.encoders.fragment_level import FragmentLevel
from model.encoders.pooling import masked_top_k_mean, top_k_mean_shares
from model.errors import CheckpointError, RegionFeatureError
from model.explanation import CaptionParts, Explainer, explain
from model.hrem import HREM
from model.inputs.captions import CaptionTokenizer, Word
from tests.tiny_pretrained import tiny_pretrained
from tests.worlds import BACKBONES, captions_of, made_up_picture, tiny_config, tiny_hrem

PICTURES = [made_up_picture(number) for number in range(5)]
CAPTIONS = ["red", "", *captions_of(1), "a zebra, one two THREE red circles on grey " * 3]
# Sums of the same float32 products in another order.
SAME = {"atol": 1e-5, "rtol": 0}
LEVELS = {
    "paper": {},
    "top 1": {"top_k": 1},
    "top 7, more than most have": {"top_k": 7},
    "no relation layer": {"pooling_weight": 1.0},
    "relation alone": {"pooling_weight": 0.0},
    "gpo": {"pooling": "gpo"},
}
GREY = 128


def network(
    folder: Path, *, text: str = "bigru", level: dict[str, Any] | None = None, **sizes: Any
) -> HREM:
    """A tiny network with random weights, of either text encoder and any pooling."""
    config = tiny_config(**sizes)
    pooled = FragmentLevelConfig(head_count=2, **(level or {}))
    captions = [caption for number in range(12) for caption in captions_of(number)]
    if text == "bert":
        (folder / "vocab.txt").write_text(
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nred\ncir\n##cle\n##s\non\ngrey\nsquare\n.\n,"
        )
        tokenizer = CaptionTokenizer.from_vocabulary(folder / "vocab.txt", max_word_count=24)
        words = TextEncoderConfig(
            kind="bert",
            max_word_count=24,
            vocabulary_size=tokenizer.vocabulary_size,
            fragment_level=pooled,
            architecture={
                "model_type": "bert",
                "vocab_size": tokenizer.vocabulary_size,
                "hidden_size": 12,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 16,
                "max_position_embeddings": 24,
            },
        )
    else:
        tokenizer = CaptionTokenizer.from_captions(captions, min_count=1, max_word_count=24)
        words = config.text.model_copy(
            update={"vocabulary_size": tokenizer.vocabulary_size, "fragment_level": pooled}
        )
    image = config.image.model_copy(update={"fragment_level": pooled})
    return HREM(config.model_copy(update={"image": image, "text": words}), tokenizer).eval()


@pytest.fixture(scope="module")
def hrem() -> HREM:
    return tiny_hrem()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", ["bigru", "bert"])
def test_it_sums_to_the_score_of_every_picture_and_caption(
    text: str, level: str, tmp_path: Path
) -> None:
    hrem = network(tmp_path, text=text, level=LEVELS[level])
    explainer = Explainer(hrem)
    scores = hrem.encode_images(PICTURES) @ hrem.encode_captions(CAPTIONS).T
    images, captions = explainer.of_pictures(PICTURES), explainer.of_captions(CAPTIONS)
    for row, image in enumerate(images):
        for column, caption in enumerate(captions):
            explanation = explain(image, caption)
            assert explanation.score == pytest.approx(scores[row, column].item(), abs=1e-5)
            assert explanation.matrix.dtype == torch.float32
            assert image.cells is not None
            assert explanation.matrix.shape == (len(image.cells), len(caption.words))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
@pytest.mark.parametrize("grid_size", [None, 3])
def test_it_sums_to_the_score_whatever_the_backbone(
    backbone: str, grid_size: int | None, tmp_path: Path
) -> None:
    hrem = network(tmp_path, backbone=backbone, grid_size=grid_size)
    explainer = Explainer(hrem)
    [caption] = explainer.of_captions(CAPTIONS[2:3])
    scores = hrem.encode_images(PICTURES) @ hrem.encode_captions(CAPTIONS[2:3]).T
    for image, score in zip(explainer.of_pictures(PICTURES), scores, strict=True):
        assert explain(image, caption).score == pytest.approx(score.item(), abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=5),
    padding=st.integers(0, 4),
    seed=st.integers(0, 2**16),
    level=st.sampled_from(sorted(LEVELS)),
)
def test_random_regions_of_any_count_beside_any_padding_sum_to_the_score(
    lengths: list[int], padding: int, seed: int, level: str
) -> None:
    torch.manual_seed(seed)
    hrem = network(Path(), level=LEVELS[level], backbone=None, region_dim=6)
    features = torch.randn(len(lengths), max(lengths) + padding, 6) * 3
    explainer = Explainer(hrem)
    captions = explainer.of_captions(CAPTIONS)
    scores = hrem.encode_regions(features, lengths) @ hrem.encode_captions(CAPTIONS).T
    for row, image in enumerate(explainer.of_regions(features, lengths)):
        assert image.cells is None
        for column, caption in enumerate(captions):
            explanation = explain(image, caption)
            assert explanation.matrix.shape == (lengths[row], len(caption.words))
            assert explanation.score == pytest.approx(scores[row, column].item(), abs=1e-5)


def test_the_parts_are_those_of_the_definition() -> None:
    hrem = network(Path(), backbone=None, region_dim=6)
    features = torch.randn(1, 5, 6)
    encoder = hrem.image_encoder
    with torch.no_grad():
        projected = encoder.projection(features, torch.zeros(1, 5, dtype=torch.bool))
        related = encoder.fragment_level.relation(projected, torch.zeros(1, 5, dtype=torch.bool))
    expected = torch.zeros(5, hrem.dim)
    for dim in range(hrem.dim):
        values = projected[0, :, dim].tolist()
        for region in sorted(range(5), key=lambda region: -values[region])[:2]:
            expected[region, dim] += 0.8 / 2 * values[region]
        expected[:, dim] += 0.2 / 5 * related[0, :, dim]
    expected /= expected.sum(dim=0).norm()
    [image] = Explainer(hrem).of_regions(features)
    assert torch.allclose(image.vectors, expected, atol=1e-6)


def test_of_equal_values_no_more_than_k_count() -> None:
    fragments = torch.tensor([[[1.0], [2.0], [2.0], [2.0], [9.0]]])
    is_padding = torch.tensor([[False, False, False, False, True]])
    shares = top_k_mean_shares(fragments, is_padding, k=2)
    assert sorted(shares.flatten().tolist()) == [0, 0, 0, 1, 1]
    assert shares[0, 4] == 0
    assert torch.equal(shares.sum(dim=1), masked_top_k_mean(fragments, is_padding, k=2))


@pytest.mark.parametrize("level", LEVELS)
def test_shares_sum_to_the_embedding_and_are_nothing_for_padding(level: str) -> None:
    pooling = FragmentLevel(8, FragmentLevelConfig(head_count=2, **LEVELS[level])).eval()
    fragments = torch.randint(-2, 3, (6, 5, 8)).float()  # many ties
    is_padding = torch.arange(5) >= torch.tensor([5, 1, 2, 3, 5, 4])[:, None]
    fragments[is_padding] = 1e4
    with torch.no_grad():
        shares = pooling.shares(fragments, is_padding)
        assert torch.allclose(
            shares.sum(dim=1), pooling(fragments, is_padding).embeddings, atol=1e-6
        )
    assert not shares[is_padding].any()


def test_neighbours_and_batches_never_change_the_parts_of_an_item(hrem: HREM) -> None:
    explainer = Explainer(hrem)
    for of, items in ((explainer.of_captions, CAPTIONS), (explainer.of_pictures, PICTURES)):
        together = of(items)
        for batched in (of(items, batch_size=2), [of([item])[0] for item in items]):
            for one, other in zip(batched, together, strict=True):
                assert torch.allclose(one.vectors, other.vectors, **SAME)
    regions = Explainer(network(Path(), backbone=None, region_dim=6))
    features, lengths = torch.randn(3, 4, 6), [4, 1, 3]
    for row, image in enumerate(regions.of_regions(features, lengths, batch_size=2)):
        [alone] = regions.of_regions(features[row : row + 1, : lengths[row]])
        assert torch.allclose(image.vectors, alone.vectors, **SAME)


def test_nothing_at_all_has_no_parts(hrem: HREM) -> None:
    assert Explainer(hrem).of_captions([]) == []
    assert Explainer(hrem).of_pictures([]) == []


def test_a_training_network_stays_in_training_mode_and_is_explained_as_it_encodes(
    tmp_path: Path,
) -> None:
    hrem = network(tmp_path).train()
    explainer = Explainer(hrem)
    [image], [caption] = explainer.of_pictures(PICTURES[:1]), explainer.of_captions(["a red"])
    assert hrem.training
    score = hrem.encode_images(PICTURES[:1]) @ hrem.encode_captions(["a red"]).T
    assert explain(image, caption).score == pytest.approx(score.item(), abs=1e-5)


def test_in_bfloat16_it_sums_to_the_score_as_far_as_that_reaches(tmp_path: Path) -> None:
    hrem = network(tmp_path)
    hrem.precision = "bfloat16"
    explainer = Explainer(hrem)
    [image], [caption] = explainer.of_pictures(PICTURES[:1]), explainer.of_captions(["a red"])
    score = hrem.encode_images(PICTURES[:1]) @ hrem.encode_captions(["a red"]).T
    # 8 bits of every projected value.
    assert explain(image, caption).score == pytest.approx(score.item(), abs=0.02)
    assert image.vectors.dtype == torch.float32


def placed(parts: CaptionParts, caption: str) -> list[tuple[str, str]]:
    return [(word.text, caption[word.start : word.end]) for word in parts.words]


def test_words_stand_where_the_caption_has_them(hrem: HREM, tmp_path: Path) -> None:
    caption = "A  RED zebra, 🦓 cafe\N{COMBINING ACUTE ACCENT} circle!"
    [parts] = Explainer(hrem).of_captions([caption])
    assert placed(parts, caption) == [
        ("<start>", ""), ("a", "A"), ("red", "RED"), ("<unk>", "zebra"),
        ("<unk>", "cafe\N{COMBINING ACUTE ACCENT}"), ("circle", "circle"), ("<end>", ""),
    ]  # fmt: skip
    assert parts.words[0] == Word("<start>", 0, 0)
    assert parts.words[-1] == Word("<end>", len(caption) - 1, len(caption) - 1)
    caption = "🦓 A Red  circles."
    [parts] = Explainer(network(tmp_path, text="bert")).of_captions([caption])
    assert placed(parts, caption) == [
        ("[CLS]", ""), ("[UNK]", "🦓"), ("a", "A"), ("red", "Red"), ("cir", "cir"),
        ("##cle", "cle"), ("##s", "s"), (".", "."), ("[SEP]", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["bigru", "bert"])
def test_a_caption_that_is_cut_has_the_words_that_are_read(text: str, tmp_path: Path) -> None:
    hrem = network(tmp_path, text=text)
    caption = "red " * 40
    [parts] = Explainer(hrem).of_captions([caption])
    assert len(parts.words) == len(parts.vectors) == hrem.config.text.max_word_count
    assert [word.start for word in parts.words[1:-1]] == [4 * place for place in range(22)]
    assert parts.words[-1].start == parts.words[-2].end


PREPROCESSORS = {
    "squash": {"resize": "squash"},
    "crop": {"resize": "crop", "crop_fraction": 0.875},
    "crop, nothing but the long side": {"resize": "crop", "crop_fraction": 1.0},
    "crop, far in": {"resize": "crop", "crop_fraction": 0.4},
}


def with_preprocessor(backbone: str, preprocessing: dict[str, Any], **sizes: Any) -> HREM:
    made = tiny_hrem(backbone=backbone, **sizes)
    preprocessor = PreprocessorConfig(image_size=32, **preprocessing)
    return HREM(
        made.config.model_copy(update={"preprocessor": preprocessor}), made.tokenizer
    ).eval()


@pytest.mark.parametrize("size", [(64, 64), (150, 60), (40, 130), (400, 30), (20, 300)])
@pytest.mark.parametrize("name", PREPROCESSORS)
def test_a_box_holds_what_the_network_sees_in_its_cell(name: str, size: tuple[int, int]) -> None:
    hrem = with_preprocessor("resnet", PREPROCESSORS[name], grid_size=4)
    transform, _ = hrem.picture_half()
    # Red tells how far right a pixel lies, green how far down.
    across, down = (np.linspace(0, 255, length) for length in size)
    red, green = np.meshgrid(across, down)
    picture = Image.fromarray(np.stack([red, green, red], axis=2).round().astype(np.uint8))
    [image] = Explainer(hrem).of_pictures([picture])
    assert image.cells is not None
    assert [(cell.row, cell.column) for cell in image.cells] == [
        (row, column) for row in range(4) for column in range(4)
    ]
    pixels = transform(picture).astype(float)
    for cell in image.cells:
        seen = pixels[:, 8 * cell.row : 8 * cell.row + 8, 8 * cell.column : 8 * cell.column + 8]
        left, top, right, bottom = cell.box
        assert 0 <= left < right <= 1
        assert 0 <= top < bottom <= 1
        assert seen[0].mean() / 255 == pytest.approx((left + right) / 2, abs=0.02)
        assert seen[1].mean() / 255 == pytest.approx((top + bottom) / 2, abs=0.02)


# Of patches; random convolutions look about as much beyond their cell as into it.
@pytest.mark.parametrize("backbone", ["convnext", "swin", "vit"])
def test_what_is_drawn_in_a_box_changes_its_own_region_most(backbone: str) -> None:
    hrem = with_preprocessor(backbone, PREPROCESSORS["crop"], grid_size=4)
    transform, reader = hrem.picture_half()
    grey = Image.new("RGB", (160, 96), (GREY, GREY, GREY))
    [image] = Explainer(hrem).of_pictures([grey])
    assert image.cells is not None

    def regions(picture: Image.Image) -> torch.Tensor:
        with torch.no_grad():
            return reader(torch.from_numpy(transform(picture))[None])[0]

    for place in (1, 6, 12):
        left, top, right, bottom = image.cells[place].box
        marked = grey.copy()
        width, height = grey.size
        marked.paste(
            (255, 0, 0),
            (
                round(left * width),
                round(top * height),
                round(right * width),
                round(bottom * height),
            ),
        )
        change = (regions(marked) - regions(grey)).norm(dim=1)
        assert int(change.argmax()) == place


def test_squashed_pictures_are_seen_whole_and_cropped_ones_in_their_middle() -> None:
    assert _seen_by("squash", (90, 30)) == (0, 0, 1, 1)
    left, top, right, bottom = _seen_by("crop, nothing but the long side", (90, 30))
    assert (top, bottom) == (0, 1)
    assert (left, right) == pytest.approx((1 / 3, 2 / 3))


def _seen_by(name: str, size: tuple[int, int]) -> tuple[float, float, float, float]:
    transform, _ = with_preprocessor("resnet", PREPROCESSORS[name]).picture_half()
    return transform.seen_box(size)


def test_a_clip_like_network_says_that_it_cannot_explain(tmp_path: Path) -> None:
    clip = load_dual_encoder(tiny_pretrained(tmp_path))
    with pytest.raises(CheckpointError, match="cannot explain a score, only HREM can") as caught:
        Explainer(clip)
    assert "CLIP" in str(caught.value)


def test_a_checkpoint_of_regions_explains_no_pictures_and_refuses_wrong_regions() -> None:
    explainer = Explainer(network(Path(), backbone=None, region_dim=6))
    with pytest.raises(CheckpointError, match="cannot read pictures"):
        explainer.of_pictures(PICTURES[:1])
    with pytest.raises(RegionFeatureError, match="expects"):
        explainer.of_regions(torch.zeros(1, 2, 7))
