"""The fast code agrees with formulas read aloud, where no recording reaches.

Everything runs in float64, so that a tolerance of 1e-9 is rounding and nothing else.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from model.alignment import align
from model.config import FragmentLevelConfig, TextEncoderConfig
from model.encoders.fragment_level import EncodedItems
from model.encoders.image import ImageEncoder
from model.encoders.pooling import unit_length
from model.encoders.text import TextEncoder
from model.training.losses import (
    all_violations_loss,
    contrastive_loss,
    distance_weighted_loss,
    hardest_negative_loss,
    hinge,
)
from model.training.miners import (
    distance_weighted_probabilities,
    draw_negatives,
    positive_pairs,
)
from model.training.objective import LossConfig, Objective
from model.training.relation.connection import connect, strongest
from model.training.relation.instance_level import InstanceLevelConfig
from model.training.relation.interaction import RelationAttention
from tests.parity import slow_reference as slow

DIM, HEADS, K = 8, 2, 3
ACROSS = ("image_to_text", "text_to_image")
WITHIN = ("image_to_image", "text_to_text")
RENAMED = {
    "attention.": "self_attn.",
    "attention_norm.": "norm1.",
    "hidden.": "linear1.",
    "output.": "linear2.",
    "feed_forward_norm.": "norm2.",
}


def agree(ours: object, slowly: object) -> None:
    a, b = (torch.as_tensor(x, dtype=torch.float64).detach() for x in (ours, slowly))
    torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


@dataclass(frozen=True)
class Batch:
    """A padded batch, and the same items as lists without padding."""

    images: EncodedItems
    captions: EncodedItems
    regions: list[Tensor]
    words: list[Tensor]
    image_ids: Tensor


def encoded(lengths: list[int], generator: torch.Generator) -> tuple[EncodedItems, list[Tensor]]:
    """Return items of random fragments; padded rows hold large numbers that must not matter."""
    count, longest = len(lengths), max(lengths) + 2
    draw = {"generator": generator, "dtype": torch.float64}
    fragments = torch.randn(count, longest, DIM, **draw)
    is_padding = torch.arange(longest) >= torch.tensor(lengths)[:, None]
    fragments[is_padding] *= 100
    unnormalized = torch.randn(count, DIM, **draw)
    items = EncodedItems(unit_length(unnormalized), unnormalized, fragments, is_padding)
    return items, [fragments[row, :length] for row, length in enumerate(lengths)]


def batch_of(region_counts: list[int], word_counts: list[int], ids: list[int]) -> Batch:
    generator = torch.Generator().manual_seed(len(ids))
    images, regions = encoded(region_counts, generator)
    captions, words = encoded(word_counts, generator)
    return Batch(images, captions, regions, words, torch.tensor(ids))


BATCHES = {
    "ragged": batch_of([4, 1, 6, 3, 2], [5, 2, 1, 7, 3], [0, 1, 2, 3, 3]),
    "batch of one": batch_of([4], [3], [0]),
    "one region and one word each": batch_of([1, 1, 1], [1, 1, 1], [0, 1, 2]),
    "all of one image": batch_of([2, 3, 4], [5, 1, 2], [7, 7, 7]),
    "more than K of everything": batch_of([5, 6], [9, 8], [0, 1]),
}


@pytest.fixture(params=BATCHES, ids=lambda name: name.replace(" ", "-"))
def batch(request):
    return BATCHES[request.param]


def make_objective(kind: str = "all_violations", **settings: object) -> Objective:
    config = InstanceLevelConfig(top_k=K, head_count=HEADS, sigma=0.7, **settings)
    objective = Objective(DIM, loss=LossConfig(kind=kind), instance_level=config)
    return objective.double().eval()


def slow_weights(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return a RelationAttention's weights under the names that the slow reading uses."""
    renamed = {}
    for name, weight in module.state_dict().items():
        old = next(prefix for prefix in RENAMED if name.startswith(prefix))
        renamed[RENAMED[old] + name.removeprefix(old)] = weight
    return renamed


def slow_graph(batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return p by direction and A by block."""
    v, u = batch.images.embeddings, batch.captions.embeddings
    p_it, _ = slow.align_all(batch.regions, batch.words, count=K)
    p_ti, _ = slow.align_all(batch.words, batch.regions, count=K)
    blocks = {
        "image_to_image": slow.connection(slow.cosines(v, v)),
        "image_to_text": slow.connection(p_it),
        "text_to_image": slow.connection(p_ti),
        "text_to_text": slow.connection(slow.cosines(u, u)),
    }
    return {"image_to_text": p_it, "text_to_image": p_ti}, blocks


def join(blocks: dict[str, Tensor]) -> Tensor:
    upper = torch.cat([blocks["image_to_image"], blocks["image_to_text"]], dim=1)
    return torch.cat([upper, torch.cat([blocks["text_to_image"], blocks["text_to_text"]], dim=1)])


def slow_instance_level(
    batch: Batch, objective: Objective, *, sigma: float, relevance_weight: float
) -> tuple[Tensor, Tensor, float]:
    """Return enhanced images, enhanced captions and L_reg, by whichever mechanism."""
    v, u = batch.images.embeddings, batch.captions.embeddings
    level = objective.instance_level
    assert level is not None
    _, connected = slow_graph(batch)
    left_out = {"all": (), "intra": ACROSS, "inter": WITHIN}[level.config.relations]
    if level.config.connected_fraction == 1:
        connected = {name: torch.ones_like(block) for name, block in connected.items()}
    connected |= {name: torch.zeros_like(connected[name]) for name in left_out}
    if level.relevance is None:
        relevance = {name: torch.zeros(block.shape) for name, block in connected.items()}
        regulariser = 0.0
    else:
        relevance, regulariser = slow_relevance(batch, level.relevance.state_dict(), sigma=sigma)
    sizes = {"relevance_weight": relevance_weight, "head_count": HEADS}
    if level.config.mechanism == "fusion":
        weights = slow_weights(level.interaction.layer)
        enhanced = slow.fusion(weights, "", v, u, join(connected), join(relevance), **sizes)
    else:
        layers = level.interaction.layers
        by_step = {
            name: slow_weights(layers["shared" if level.config.shared_blocks else name])
            for name in (*ACROSS, *WITHIN)
            if name not in left_out
        }
        enhanced = slow.standalone(by_step, v, u, connected, relevance, **sizes)
    return *enhanced, regulariser


def slow_relevance(
    batch: Batch, weights: dict[str, Tensor], *, sigma: float
) -> tuple[dict[str, Tensor], float]:
    """Return S by block, and L_reg."""
    v, u = batch.images.embeddings, batch.captions.embeddings
    relevance = {
        "image_to_image": slow.closeness(v, v, sigma=sigma),
        "text_to_text": slow.closeness(u, u, sigma=sigma),
    }
    for direction, left, right in (
        ("image_to_text", batch.regions, batch.words),
        ("text_to_image", batch.words, batch.regions),
    ):
        p, q = slow.align_all(left, right, count=K)
        first, second = f"{direction}.0.", f"{direction}.2."
        relevance[direction] = slow.inter_relevance(weights, first, second, p, q)
    close = slow.closeness(v, u, sigma=sigma)
    regulariser = slow.regularisation(relevance["image_to_text"], close)
    regulariser += slow.regularisation(relevance["text_to_image"], close.T)
    return relevance, regulariser


# ---- fragment level -----------------------------------------------------------------------------


def shaken(module: torch.nn.Module) -> torch.nn.Module:
    """Return the module in float64 eval mode with no weight at a special value."""
    generator = torch.Generator().manual_seed(1)
    module = module.double().eval()
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor += 0.3 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
    return module


@pytest.mark.parametrize("lengths", [[4, 1, 6, 2], [1], [1, 1]])
def test_images_are_encoded_as_the_equations_say(lengths):
    level = FragmentLevelConfig(head_count=HEADS, pooling_weight=0.7)
    encoder = shaken(ImageEncoder(region_dim=5, embedding_dim=DIM, fragment_level=level))
    regions = torch.randn(len(lengths), max(lengths) + 1, 5, dtype=torch.float64)
    is_padding = torch.arange(regions.shape[1]) >= torch.tensor(lengths)[:, None]
    found = encoder(regions, is_padding)

    weights = encoder.state_dict()
    parts = ("linear", "hidden", "batch_norm", "output")
    names = {part: f"projection.{part}." for part in parts}
    for row, length in enumerate(lengths):
        projected = [slow.project_region(weights, names, r) for r in regions[row, :length]]
        prefix = "fragment_level.relation.layer."
        pooled = slow.pool(weights, prefix, projected, head_count=HEADS, pooling_weight=0.7)
        agree(found.fragments[row, :length], torch.stack(projected))
        agree(found.unnormalized[row], pooled)
        agree(found.embeddings[row], slow.unit(pooled))


@pytest.mark.parametrize("captions", [[[2, 5, 6, 3], [2, 3], [2, 7, 7, 7, 4, 3]], [[4]]])
def test_bigru_captions_are_encoded_as_the_equations_say(captions):
    level = FragmentLevelConfig(head_count=HEADS)
    config = TextEncoderConfig(kind="bigru", word_dim=5, vocabulary_size=9, fragment_level=level)
    encoder = shaken(TextEncoder(embedding_dim=DIM, config=config))
    longest = max(map(len, captions)) + 1
    token_ids = torch.tensor([[*caption, *[0] * (longest - len(caption))] for caption in captions])
    is_padding = torch.arange(longest) >= torch.tensor([len(c) for c in captions])[:, None]
    found = encoder(token_ids, is_padding)

    weights = encoder.state_dict()
    for row, caption in enumerate(captions):
        states = slow.bigru(weights, "words.embedding.weight", "words.gru.", caption)
        prefix = "fragment_level.relation.layer."
        pooled = slow.pool(weights, prefix, states, head_count=HEADS, pooling_weight=0.8)
        agree(found.fragments[row, : len(caption)], torch.stack(states))
        agree(found.embeddings[row], slow.unit(pooled))


# ---- alignment, A -------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_bytes", [1, 1000, 2**26])
def test_alignment_is_one_pair_at_a_time_whatever_the_chunks(batch, chunk_bytes):
    found = align(
        batch.images.fragments,
        batch.images.is_padding,
        batch.captions.fragments,
        batch.captions.is_padding,
        chunk_bytes=chunk_bytes,
    )
    p_it, q_it = slow.align_all(batch.regions, batch.words, count=K)
    p_ti, q_ti = slow.align_all(batch.words, batch.regions, count=K)
    agree(found.image_to_text_means(), p_it)
    agree(found.text_to_image_means(), p_ti)
    agree(found.image_to_text_largest(K), q_it)
    agree(found.text_to_image_largest(K), q_ti)


def test_connection_is_the_top_half_of_every_row_of_every_block(batch):
    v, u = batch.images, batch.captions
    alignment = align(v.fragments, v.is_padding, u.fragments, u.is_padding)
    found = connect(v.embeddings, u.embeddings, alignment, fraction=0.5)
    _, blocks = slow_graph(batch)
    for name, expected in blocks.items():
        assert torch.equal(getattr(found, name), expected), name
        assert getattr(found, name).any(dim=1).all(), "everyone has a neighbour"


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.75, 1.0])
def test_ties_at_the_cut_are_all_kept(fraction):
    scores = torch.tensor([[1.0, 1.0, 1.0, 0.0], [0.5, 2.0, 2.0, 2.0], [3.0, 2.0, 1.0, 1.0]])
    found = strongest(scores, fraction=fraction)
    assert torch.equal(found, slow.connection(scores, fraction=fraction))
    if fraction == 0.5:
        assert found.sum(dim=1).tolist() == [3, 3, 2]


# ---- the whole instance level -------------------------------------------------------------------


@pytest.mark.parametrize("relevance_weight", [0.0, 1.5])
@pytest.mark.parametrize("kind", ["all_violations", "hardest_negative"])
def test_the_objective_is_the_named_sum_of_the_equations(batch, kind, relevance_weight):
    objective = make_objective(kind, relevance_weight=relevance_weight, regulariser_weight=10)
    terms = objective(batch.images, batch.captions, batch.image_ids, with_instance_level=True)

    v, u = batch.images.embeddings, batch.captions.embeddings
    v_new, u_new, regulariser = slow_instance_level(
        batch, objective, sigma=0.7, relevance_weight=relevance_weight
    )

    def loss(images: Tensor, captions: Tensor) -> float:
        ids = batch.image_ids.tolist()
        return slow.violation_loss(images, captions, ids, hardest=kind == "hardest_negative")

    agree(terms.base, loss(v, u))
    agree(terms.enhanced, loss(v_new, u_new))
    agree(terms.cross, loss(v_new, u) + loss(v, u_new))
    agree(terms.regulariser, regulariser)
    agree(terms.total, terms.base + terms.enhanced + terms.cross + 10 * terms.regulariser)


@pytest.mark.parametrize("graph", [{}, {"connected_fraction": 1.0}, {"relevance": False}])
@pytest.mark.parametrize("relations", ["all", "intra", "inter"])
@pytest.mark.parametrize(
    "mechanism",
    [
        {"mechanism": "fusion"},
        {"mechanism": "standalone"},
        {"mechanism": "standalone", "shared_blocks": True},
    ],
    ids=["fusion", "standalone", "shared"],
)
def test_enhanced_embeddings_are_the_slow_ones(mechanism, relations, graph):
    batch = BATCHES["ragged"]
    settings = {**mechanism, "relations": relations, **graph}
    objective = shaken(make_objective(relevance_weight=1.5, **settings))
    v_new, u_new, regulariser = slow_instance_level(
        batch, objective, sigma=0.7, relevance_weight=1.5
    )
    found = objective.instance_level(batch.images, batch.captions)
    agree(found.images, v_new)
    agree(found.captions, u_new)
    if relations == "intra" or "relevance" in graph:
        assert found.regulariser is None
    else:
        agree(found.regulariser, regulariser)


@pytest.mark.parametrize("mechanism", ["fusion", "standalone"])
def test_batches_of_any_shape_are_enhanced_as_the_slow_ones(batch, mechanism):
    objective = shaken(make_objective(relevance_weight=1.5, mechanism=mechanism))
    v_new, u_new, _ = slow_instance_level(batch, objective, sigma=0.7, relevance_weight=1.5)
    found = objective.instance_level(batch.images, batch.captions)
    agree(found.images, v_new)
    agree(found.captions, u_new)


def test_before_warm_up_only_the_base_term_counts(batch):
    objective = make_objective()
    terms = objective(batch.images, batch.captions, batch.image_ids, with_instance_level=False)
    assert (terms.enhanced, terms.cross, terms.regulariser) == (None, None, None)
    assert terms.total is terms.base


def test_a_node_without_any_neighbour_goes_on_by_its_residual_path():
    attention = shaken(RelationAttention(DIM, head_count=HEADS, dropout=0.1))
    nodes = torch.randn(4, DIM, dtype=torch.float64)
    connection = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]]).bool()
    bias = torch.randn(4, 4, dtype=torch.float64)
    found = attention(nodes, nodes, connection, bias)
    expected = slow.attention_block(
        slow_weights(attention),
        "",
        list(nodes),
        list(nodes),
        head_count=HEADS,
        may_attend=connection,
        bias=bias,
    )
    agree(found, torch.stack(expected))


def test_only_the_mlps_learn_from_the_regulariser(batch):
    objective = make_objective()
    items = [batch.images, batch.captions]
    leaves = [t.detach().requires_grad_() for i in items for t in (i.embeddings, i.fragments)]
    images = EncodedItems(leaves[0], leaves[0], leaves[1], batch.images.is_padding)
    captions = EncodedItems(leaves[2], leaves[2], leaves[3], batch.captions.is_padding)
    terms = objective(images, captions, batch.image_ids, with_instance_level=True)
    terms.regulariser.backward(retain_graph=True)
    learned = {name for name, p in objective.named_parameters() if p.grad is not None}
    assert learned == {n for n, _ in objective.named_parameters() if ".relevance." in n}
    assert all(leaf.grad is None for leaf in leaves)

    terms.total.backward()
    gradients = [*leaves[::2], *objective.parameters()]
    assert all(g.grad is not None and g.grad.isfinite().all() for g in gradients)
    assert leaves[1].grad is None and leaves[3].grad is None, "fragments are detached"


def test_equal_items_are_at_distance_zero_with_finite_gradients():
    objective = make_objective()
    batch = BATCHES["ragged"]
    same = batch.images.embeddings[:1].repeat(5, 1).requires_grad_()
    images = EncodedItems(same, same, batch.images.fragments, batch.images.is_padding)
    terms = objective(images, images, batch.image_ids, with_instance_level=True)
    terms.total.backward()
    assert same.grad.isfinite().all()


# ---- distance-weighted sampling -----------------------------------------------------------------


def crowd() -> tuple[Tensor, Tensor, list[int]]:
    """Return images and captions from nearly equal to opposite, some of one image."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(7, 4, generator=generator, dtype=torch.float64)
    captions = images + torch.randn(7, 4, generator=generator, dtype=torch.float64)
    images[1], captions[1] = images[0], captions[0] + 0.1
    images[2] = -images[0]
    # Without the 1e-8 of `unit_length`: the weights are steep, and would show it.
    exact = [rows / rows.norm(dim=1, keepdim=True) for rows in (images, captions)]
    return *exact, [0, 1, 2, 3, 4, 4, 0]


@pytest.mark.parametrize("cutoff", [0.6, 1.2, 1.7, 1.9])
def test_the_sampling_distribution_is_the_formula(cutoff):
    images, captions, ids = crowd()
    pairs = slow.positive_pairs(ids)
    for anchors, others in ((images, captions), (captions, images)):
        found = distance_weighted_probabilities(
            anchors @ others.T, torch.tensor(ids), cutoff=cutoff
        )
        expected = slow.sampling_probability(anchors, others, ids, cutoff=cutoff)
        agree(found[[anchor for anchor, _ in pairs]], expected)
    if cutoff == 0.6:
        assert bool((expected.sum(dim=1) == 0).any()), "an anchor without any valid negative"


def test_pairs_are_all_rows_of_one_image_in_row_order():
    ids = [4, 2, 4, 2, 9]
    anchors, positives = positive_pairs(torch.tensor(ids))
    found = list(zip(anchors.tolist(), positives.tolist(), strict=True))
    assert found == slow.positive_pairs(ids)


def test_drawn_negatives_follow_the_distribution():
    probabilities = torch.tensor([[0.0, 0.2, 0.8], [0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    anchors = torch.tensor([0, 1, 2]).repeat_interleave(4000)
    drawn, is_valid = draw_negatives(probabilities, anchors, torch.Generator().manual_seed(0))
    for anchor in (0, 1):
        counts = drawn[anchors == anchor].bincount(minlength=3) / 4000
        # 4 standard deviations of a share of 4,000 draws.
        torch.testing.assert_close(counts, probabilities[anchor], atol=0.032, rtol=0)
    assert is_valid[anchors < 2].all()
    assert not is_valid[anchors == 2].any()


@pytest.mark.parametrize("cutoff", [0.6, 1.2, 1.9])
def test_the_sampled_loss_skips_only_anchors_without_a_valid_negative(cutoff):
    images, captions, ids = crowd()
    id_row = torch.tensor(ids)
    cosine = images @ captions.T
    anchors, positives = positive_pairs(id_row)
    expected = 0.0
    for scores, left, right in ((cosine, images, captions), (cosine.T, captions, images)):
        probabilities = distance_weighted_probabilities(scores, id_row, cutoff=cutoff)
        # The likeliest negative stands for the draw.
        rows = slow.sampling_probability(left, right, ids, cutoff=cutoff)
        likeliest = [int(row.argmax()) if row.sum() > 0 else None for row in rows]
        expected += slow.sampled_loss(left, right, ids, likeliest)
        negatives = probabilities[anchors].argmax(dim=1)
        is_valid = probabilities[anchors].sum(dim=1) > 0
        ours = (hinge(scores, anchors, positives, negatives, margin=0.2) * is_valid).sum()
        agree(ours, slow.sampled_loss(left, right, ids, likeliest))
    assert expected > 0


def test_with_one_negative_each_there_is_nothing_to_draw():
    angles = torch.tensor([[0.0, 1.4], [0.3, 0.8]], dtype=torch.float64)  # images, captions
    images, captions = (torch.stack([row.cos(), row.sin()], dim=1) for row in angles)
    ids = [0, 1]
    ours = distance_weighted_loss(images @ captions.T, torch.tensor(ids), margin=0.2, cutoff=1.99)
    expected = slow.sampled_loss(images, captions, ids, [1, 0])
    other_way = slow.sampled_loss(captions, images, ids, [1, 0])
    assert abs(expected - other_way) > 0.01
    agree(ours, expected + other_way)


def test_sampling_weights_carry_no_gradient():
    images, captions, ids = crowd()
    cosine = (images @ captions.T).requires_grad_()
    generator = torch.Generator().manual_seed(0)
    loss = distance_weighted_loss(
        cosine, torch.tensor(ids), margin=0.2, cutoff=1.9, generator=generator
    )
    loss.backward()
    # A hinge moves its two scores by one: whole numbers, no trace of the weights.
    assert torch.equal(cosine.grad, cosine.grad.round())


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_the_contrastive_loss_is_the_share_of_each_pair_in_its_row_and_column(temperature):
    images, captions, ids = crowd()
    expected = 0.0
    for left, right in ((images, captions), (captions, images)):
        for own in range(len(ids)):
            rivals = [own, *(j for j in range(len(ids)) if ids[j] != ids[own])]
            shares = slow.softmax([float(left[own] @ right[j]) / temperature for j in rivals])
            expected -= math.log(shares[0])
    ours = contrastive_loss(images @ captions.T, torch.tensor(ids), temperature=temperature)
    agree(ours, expected)


@pytest.mark.parametrize("hardest", [False, True])
def test_losses_of_a_batch_without_negatives_are_zero(hardest):
    cosine = torch.tensor([[0.1, 0.9], [0.9, 0.1]])
    loss = hardest_negative_loss if hardest else all_violations_loss
    same_image = torch.tensor([5, 5])
    assert loss(cosine, same_image, margin=0.2) == 0
    drawn = distance_weighted_loss(cosine, same_image, margin=0.2, cutoff=1.7)
    assert drawn == 0
