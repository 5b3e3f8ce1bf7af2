"""Each line of the ablation table: what it changes on a fixed batch, and that it is really gone."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.command_line import load_settings
from model.data.source import find_source
from model.encoders.fragment_level import EncodedItems
from model.encoders.image import ImageEncoder
from model.encoders.text import TextEncoder
from model.training.ablation import ABLATIONS, Row, read_rows
from model.training.neighbours import NeighbourSampler
from model.training.objective import LossTerms, Objective
from model.training.relation.interaction import Fusion, Standalone
from model.training.train import Train
from model.training.training_data import load_training_data
from tests.worlds import tiny_config, write_world

DIM, PAIRS, REGIONS, WORDS = 16, 12, 5, 6
ROWS = {row.name: row for row in read_rows(ABLATIONS)}
TRAINED = [name for name, row in ROWS.items() if not row.ensemble]
# Which pairs stand together is the sampler's business; a batch, once made, is worked on alike.
OF_THE_NETWORK = [name for name in TRAINED if name not in ("fusion", "neighbour-batches")]


@dataclass
class Outcome:
    """What a fixed batch gives under some settings."""

    images: EncodedItems
    captions: EncodedItems
    objective: Objective
    terms: LossTerms

    @property
    def gradient(self) -> Tensor:
        """Of the two encoders' outputs before unit length, where every way of learning meets."""
        parts = [self.images.unnormalized, self.captions.unnormalized]
        return torch.cat(torch.autograd.grad(self.terms.total, parts, retain_graph=True))


def settings_of(name: str) -> Train:
    sizes = ["--network.embedding-dim", str(DIM), "--network.head-count", "2"]
    sizes += ["--instance-level.head-count", "2", "--instance-level.top-k", "3"]
    return load_settings("train", Train, [*sizes, *ROWS[name].flags()])


def outcome(settings: Train) -> Outcome:
    torch.manual_seed(0)
    config = tiny_config(backbone=None, vocabulary_size=30)
    level = settings.network.fragment_level
    image_encoder = ImageEncoder(
        region_dim=12, embedding_dim=DIM, fragment_level=level("visual")
    ).eval()
    torch.manual_seed(1)
    text_encoder = TextEncoder(
        embedding_dim=DIM,
        config=config.text.model_copy(update={"fragment_level": level("textual")}),
    ).eval()
    torch.manual_seed(2)
    objective = Objective(DIM, loss=settings.loss, instance_level=settings.instance_level).eval()
    torch.manual_seed(3)
    region_lengths = torch.randint(2, REGIONS + 1, (PAIRS, 1))
    word_lengths = torch.randint(2, WORDS + 1, (PAIRS, 1))
    images = image_encoder(torch.randn(PAIRS, REGIONS, 12), torch.arange(REGIONS) >= region_lengths)
    captions = text_encoder(
        torch.randint(5, 30, (PAIRS, WORDS)), torch.arange(WORDS) >= word_lengths
    )
    terms = objective(
        images,
        captions,
        torch.arange(PAIRS),
        with_instance_level=True,
        generator=torch.Generator().manual_seed(4),
    )
    return Outcome(images, captions, objective, terms)


def enhanced_of(found: Outcome) -> Tensor:
    related = found.objective.instance_level(found.images, found.captions)
    return torch.cat([related.images, related.captions])


def with_other_fragments(items: EncodedItems) -> EncodedItems:
    """Return items with the same embeddings and the fragments of others."""
    turned = items.fragments.detach().flip(0)
    return replace(items, fragments=turned, is_padding=items.is_padding.flip(0))


@pytest.mark.parametrize("name", OF_THE_NETWORK)
def test_every_line_changes_the_loss_or_its_gradient(name: str) -> None:
    whole, changed = outcome(settings_of("fusion")), outcome(settings_of(name))
    assert torch.equal(whole.terms.total, outcome(settings_of("fusion")).terms.total)
    is_same = torch.allclose(whole.terms.total, changed.terms.total) and torch.allclose(
        whole.gradient, changed.gradient
    )
    assert not is_same


def test_every_line_is_one_line_and_loads() -> None:
    for name in TRAINED:
        assert len(ROWS[name].overrides) <= 2
        settings_of(name)
    assert Row.model_validate({"name": "fusion", "title": "x"}).flags() == []


def test_without_the_instance_level_only_the_base_term_is_there() -> None:
    found = outcome(settings_of("no-instance-level"))
    assert found.objective.instance_level is None and not list(found.objective.parameters())
    assert found.terms.total is found.terms.base


def test_the_mechanism_is_the_one_asked_for() -> None:
    for name, kind in (("fusion", Fusion), ("standalone", Standalone)):
        level = outcome(settings_of(name)).objective.instance_level
        assert level is not None and isinstance(level.interaction, kind)
    separate = outcome(settings_of("standalone")).objective
    shared = outcome(settings_of("standalone-shared")).objective
    counts = [
        sum(p.numel() for p in o.instance_level.interaction.parameters())
        for o in (separate, shared)
    ]
    assert counts[0] == 4 * counts[1]


def test_within_the_modalities_alone_no_fragment_is_compared_and_nothing_crosses() -> None:
    found = outcome(settings_of("intra-only"))
    before = enhanced_of(found)
    other = Outcome(
        with_other_fragments(found.images),
        with_other_fragments(found.captions),
        found.objective,
        found.terms,
    )
    assert torch.equal(enhanced_of(other), before)
    (crossing,) = torch.autograd.grad(
        before[:PAIRS].square().sum() + before[:PAIRS].sum(),
        found.captions.embeddings,
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )
    assert not crossing.any()
    assert found.terms.regulariser is None


def test_across_the_modalities_alone_images_do_not_hear_images() -> None:
    found = outcome(settings_of("inter-only"))
    (heard,) = torch.autograd.grad(
        (enhanced_of(found)[0] * torch.arange(DIM)).sum(), found.images.embeddings
    )
    assert heard[0].any() and not heard[1:].any()
    whole = outcome(settings_of("fusion"))
    (heard,) = torch.autograd.grad(
        (enhanced_of(whole)[0] * torch.arange(DIM)).sum(), whole.images.embeddings
    )
    assert heard[1:].any()


def test_without_a_every_node_hears_every_node() -> None:
    def silent_pairs(name: str) -> int:
        found = outcome(settings_of(name))
        silent = 0
        for row in enhanced_of(found):
            heard = torch.autograd.grad(
                (row * torch.arange(DIM)).sum(),
                [found.images.embeddings, found.captions.embeddings],
                retain_graph=True,
            )
            silent += int((torch.cat(heard).abs().sum(dim=1) == 0).sum())
        return silent

    assert silent_pairs("without-a") == 0
    assert silent_pairs("fusion") > 0


def test_without_s_nothing_depends_on_it() -> None:
    settings = settings_of("without-s")
    found = outcome(settings)
    assert found.objective.instance_level.relevance is None
    assert found.terms.regulariser is None
    level = settings.instance_level.model_copy(update={"sigma": 0.3, "relevance_weight": 9.0})
    other = outcome(settings.model_copy(update={"instance_level": level}))
    assert torch.equal(other.terms.total, found.terms.total)
    whole = settings_of("fusion")
    level = whole.instance_level.model_copy(update={"relevance_weight": 9.0})
    other = outcome(whole.model_copy(update={"instance_level": level}))
    assert not torch.equal(other.terms.enhanced, outcome(whole).terms.enhanced)


def test_without_l_cross_the_mixed_terms_are_not_there() -> None:
    terms = outcome(settings_of("without-cross")).terms
    assert terms.cross is None
    assert torch.equal(terms.total, terms.base + terms.enhanced + 10 * terms.regulariser)


def test_without_l_reg_the_regulariser_is_not_there() -> None:
    terms = outcome(settings_of("without-regulariser")).terms
    assert terms.regulariser is None
    assert torch.equal(terms.total, terms.base + terms.enhanced + terms.cross)


@pytest.mark.parametrize(
    ("name", "is_left"),
    [
        ("no-visual-fragment-level", (False, True)),
        ("no-textual-fragment-level", (True, False)),
        ("no-fragment-level", (False, False)),
        ("gpo-pooling", (False, False)),
    ],
)
def test_a_removed_fragment_level_has_no_relation_layer(
    name: str, is_left: tuple[bool, bool]
) -> None:
    network = settings_of(name).network
    for modality, is_there in zip(("visual", "textual"), is_left, strict=True):
        encoder = ImageEncoder(
            region_dim=12, embedding_dim=DIM, fragment_level=network.fragment_level(modality)
        ).eval()
        names = [n for n, _ in encoder.named_parameters()]
        assert any(".relation." in n for n in names) == is_there
        assert any(".generalized." in n for n in names) == (name == "gpo-pooling")
        if is_there or name == "gpo-pooling":
            continue
        regions = torch.randn(3, REGIONS, 12)
        nothing = torch.zeros(3, REGIONS, dtype=torch.bool)
        top = encoder.projection(regions, nothing).topk(2, dim=1).values.mean(dim=1)
        torch.testing.assert_close(
            encoder(regions, nothing).embeddings, torch.nn.functional.normalize(top)
        )


@pytest.mark.parametrize("name", ["hardest-negative", "all-violations", "contrastive"])
def test_a_loss_kind_holds_for_every_matching_term(name: str) -> None:
    """Neither draws anything: another generator changes nothing."""
    settings = settings_of(name)
    found = outcome(settings)
    again = found.objective(
        found.images,
        found.captions,
        torch.arange(PAIRS),
        with_instance_level=True,
        generator=torch.Generator().manual_seed(99),
    )
    assert torch.equal(again.total, found.terms.total)


def test_the_plain_cosine_is_neither_leaky_nor_normalised() -> None:
    found = outcome(settings_of("plain-cosine"))
    level = found.objective.instance_level
    seen = {}
    original = level.relevance.forward

    def record(images: Tensor, captions: Tensor, alignment: object) -> object:
        seen["alignment"] = alignment
        return original(images, captions, alignment)

    level.relevance.forward = record  # only listens
    level(found.images, found.captions)
    image, caption = 3, 7
    regions = found.images.fragments[image][~found.images.is_padding[image]]
    words = found.captions.fragments[caption][~found.captions.is_padding[caption]]
    cosine = torch.nn.functional.cosine_similarity(regions[:, None], words[None], dim=2)
    alignment = seen["alignment"]
    expected = cosine.amax(dim=1).mean(), cosine.amax(dim=0).mean()
    torch.testing.assert_close(alignment.image_to_text_means()[image, caption], expected[0])
    torch.testing.assert_close(alignment.text_to_image_means()[caption, image], expected[1])


def test_neighbour_batches_are_made_by_the_neighbour_sampler(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world", image_count=36)
    settings = load_settings(
        "train",
        Train,
        [
            "--schedule.batch-size",
            "16",
            "--sampling.mean-cluster-size",
            "4",
            *ROWS["neighbour-batches"].flags(),
        ],
    )
    data = load_training_data(find_source(world), settings.dataset, seed=0)
    sampler = settings._sampler(data)
    assert isinstance(sampler, NeighbourSampler)
    before = sampler.pairs(0)
    sampler.find_neighbours(torch.randn(len(data.train), 4), epoch=0)
    assert (before.images != sampler.pairs(0).images).any()
