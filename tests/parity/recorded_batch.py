"""One recorded batch of the released code beside the same batch through our network.

Every size and hyper-parameter is read from the folder. Computed in the order of the data: encoders,
A, S, Fusion, losses. What our own padding mask changes on purpose is left out, with the reason.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.alignment import Alignment, align
from model.encoders.fragment_level import EncodedItems
from model.hrem import HREM
from model.released import Assumptions, ReleasedCheckpoint, build_hrem, read_released
from model.training.losses import hinge, matching_loss
from model.training.miners import distance_weighted_probabilities, positive_pairs
from model.training.relation.blocks import RelationBlocks
from model.training.relation.connection import connect
from model.training.relation.instance_level import InstanceLevel, InstanceLevelConfig
from model.training.relation.relevance import relevance_regulariser
from tests.parity.comparison import Comparison
from tests.parity.slow_reference import released_share

AT_CUT = 1e-5
CUTOFFS = {"flickr30k": 1.7, "coco": 1.9}
BLOCKS = {
    "i2i": "image_to_image",
    "t2t": "text_to_text",
    "i2t": "image_to_text",
    "t2i": "text_to_image",
}
LOSS_KINDS = {False: "all_violations", True: "hardest_negative"}
PADDING = (
    "differs by design, with all that follows: in the released code padded regions, and padded "
    "words of captions shorter than K, take part in the inter-modal A and S; here they are masked"
)
_INSTANCE_LEVEL_PREFIXES = {
    "adj_model.adj_learning.mlp_i2t.0.": "relevance.image_to_text.0.",
    "adj_model.adj_learning.mlp_i2t.3.": "relevance.image_to_text.2.",
    "adj_model.adj_learning.mlp_t2i.0.": "relevance.text_to_image.0.",
    "adj_model.adj_learning.mlp_t2i.3.": "relevance.text_to_image.2.",
    "gnn.layers.0.self_attn.": "interaction.layer.attention.",
    "gnn.layers.0.norm1.": "interaction.layer.attention_norm.",
    "gnn.layers.0.linear1.": "interaction.layer.hidden.",
    "gnn.layers.0.linear2.": "interaction.layer.output.",
    "gnn.layers.0.norm2.": "interaction.layer.feed_forward_norm.",
}

Arrays = Mapping[str, Tensor]


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Return the arrays of an `.npz` file; pickled objects are refused."""
    with np.load(path, allow_pickle=False) as stored:
        return {name: torch.from_numpy(np.asarray(stored[name])) for name in stored.files}


@dataclass(frozen=True)
class RecordedBatch:
    """A folder's batch, and our network and instance level with its weights."""

    arrays: Arrays
    settings: dict[str, Any]
    cutoff: float
    hrem: HREM
    instance_level: InstanceLevel
    has_padding_that_matters: bool


@torch.no_grad()
def compare_batch(folder: Path, comparison: Comparison) -> None:
    """Compare `forward.npz` and `model_best.pth` of a folder."""
    batch = _read_batch(folder, comparison)
    arrays = _Tracked(batch.arrays)
    images, captions = _compare_encoders(batch, arrays, comparison)
    alignment = align(images.fragments, images.is_padding, captions.fragments, captions.is_padding)
    connection = _compare_connection(batch, arrays, comparison, images, captions, alignment)
    relevance = batch.instance_level.relevance(images.embeddings, captions.embeddings, alignment)
    for short, name in BLOCKS.items():
        if batch.has_padding_that_matters and short in ("i2t", "t2i"):
            comparison.leave_out(f"out.relevance.{short}", PADDING)
            arrays.seen(f"out.relevance.{short}")
        else:
            ours = getattr(relevance, name)
            comparison.close(f"out.relevance.{short}", ours, arrays[f"out.relevance.{short}"])
    if batch.has_padding_that_matters:
        _compare_without_region_mask(batch, arrays, comparison, images, captions)
    _compare_losses(batch, arrays, comparison, images, captions, connection, relevance)
    _compare_sampling_of_batch(batch, arrays, comparison, images, captions)
    for name in arrays.unseen():
        comparison.leave_out(
            name, "input" if name.startswith("in.") else "no counterpart is known for this name"
        )


class _Tracked:
    """Arrays by name, remembering which were asked for."""

    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays
        self._seen: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self._seen.add(name)
        # A missing array has another shape than any of ours, so it is reported as off.
        return self._arrays.get(name, torch.empty(0, 0, 0, 0, 0))

    def seen(self, name: str) -> None:
        self._seen.add(name)

    def unseen(self) -> list[str]:
        return [name for name in self._arrays if name not in self._seen]


def _read_batch(folder: Path, comparison: Comparison) -> RecordedBatch:
    settings = json.loads((folder / "config.json").read_text())
    weights = read_arrays(folder / "weights.npz")
    arrays = read_arrays(folder / "forward.npz")
    image_weights = _under(weights, "image_encoder.")
    text_weights = _under(weights, "text_encoder.")

    released = read_released(folder / "model_best.pth")
    for name, ours, recorded in (
        ("model_best.pth image state", released.image_weights, image_weights),
        ("model_best.pth text state", released.text_weights, text_weights),
    ):
        # Old files carry one buffer of transformers too many.
        kept = {k: v for k, v in ours.items() if k != "bert.embeddings.position_ids"}
        comparison.exact(name, _flat(kept), _flat(recorded), "read safely, beside weights.npz")
    is_coco = "coco" in str(released.options.get("dataset", ""))

    dim = int(settings["embed_size"])
    instance_level = InstanceLevel(
        dim,
        InstanceLevelConfig(
            connected_fraction=settings["threshold"],
            top_k=settings["topk"],
            sigma=settings["sigma"],
            relevance_weight=settings["mask_weight"],
            head_count=settings["heads"],
            regulariser_weight=settings["reg_loss_weight"],
        ),
    )
    instance_level.load_state_dict(_instance_level_weights(_under(weights, "criterion.")))
    region_lengths, word_lengths = arrays["in.region_lengths"], arrays["in.token_lengths"]
    region_count, word_count = arrays["in.regions"].shape[1], arrays["in.token_ids"].shape[1]
    has_short_captions = word_lengths < min(settings["topk"], word_count)
    return RecordedBatch(
        arrays=arrays,
        settings=settings,
        cutoff=CUTOFFS["coco" if is_coco else "flickr30k"],
        hrem=_hrem(image_weights, text_weights, settings),
        instance_level=instance_level.eval(),
        has_padding_that_matters=bool(
            (region_lengths < region_count).any() or has_short_captions.any()
        ),
    )


def _hrem(image_weights: Arrays, text_weights: Arrays, settings: Mapping[str, Any]) -> HREM:
    """Return our network; the folder has token ids and no vocabulary, so one is made up."""
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    count = len(text_weights["bert.embeddings.word_embeddings.weight"])
    with TemporaryDirectory() as place:
        vocabulary = Path(place) / "vocab.txt"
        pieces = [*marks, *(f"piece{row}" for row in range(len(marks), count))]
        vocabulary.write_text("\n".join(pieces) + "\n")
        released = ReleasedCheckpoint(
            image_weights=dict(image_weights),
            text_weights=dict(text_weights),
            options={"nhead": settings["heads"], "residual_weight": settings["residual_weight"]},
            epoch=0,
            best_rsum=0.0,
        )
        assumed = Assumptions(text_heads=settings["bert"]["num_attention_heads"])
        return build_hrem(released, vocabulary=vocabulary, assumed=assumed)


def _compare_encoders(
    batch: RecordedBatch, arrays: _Tracked, comparison: Comparison
) -> tuple[EncodedItems, EncodedItems]:
    regions, token_ids = batch.arrays["in.regions"], batch.arrays["in.token_ids"]
    no_region = _is_padding(regions.shape[1], batch.arrays["in.region_lengths"])
    no_word = _is_padding(token_ids.shape[1], batch.arrays["in.token_lengths"])
    images = batch.hrem.image_encoder(regions, no_region)
    captions = batch.hrem.text_encoder(token_ids, no_word)
    bert = batch.hrem.text_encoder.words.bert
    hidden = bert(input_ids=token_ids, attention_mask=(~no_word).long()).last_hidden_state
    for name, ours in (
        ("out.region_embeddings", images.fragments),
        ("out.image_embedding_unnormalized", images.unnormalized),
        ("out.image_embedding", images.embeddings),
        ("out.bert_hidden", hidden),
        ("out.word_embeddings", captions.fragments),
        ("out.caption_embedding_unnormalized", captions.unnormalized),
        ("out.caption_embedding", captions.embeddings),
    ):
        comparison.close(name, ours, arrays[name])
    return images, captions


def _compare_connection(
    batch: RecordedBatch,
    arrays: _Tracked,
    comparison: Comparison,
    images: EncodedItems,
    captions: EncodedItems,
    alignment: Alignment,
) -> RelationBlocks:
    """Return A: ours, or the recorded one where they differ only at a row's cut."""
    fraction = float(batch.settings["threshold"])
    ours = connect(images.embeddings, captions.embeddings, alignment, fraction=fraction)
    scores = {
        "i2i": images.embeddings @ images.embeddings.T,
        "t2t": captions.embeddings @ captions.embeddings.T,
        "i2t": alignment.image_to_text_means(),
        "t2i": alignment.text_to_image_means(),
    }
    accepted = {}
    for short, name in BLOCKS.items():
        key, block = f"out.connection.{short}", getattr(ours, name)
        accepted[name] = block
        if batch.has_padding_that_matters and short in ("i2t", "t2i"):
            comparison.leave_out(key, PADDING)
            arrays.seen(key)
            continue
        recorded = arrays[key]
        if comparison.edges(key, block, recorded, is_at_cut=_is_at_cut(scores[short], fraction)):
            accepted[name] = recorded.bool()
    return RelationBlocks(**accepted)


def _compare_without_region_mask(
    batch: RecordedBatch,
    arrays: _Tracked,
    comparison: Comparison,
    images: EncodedItems,
    captions: EncodedItems,
) -> None:
    """With region masking switched off, image -> text is the released code's."""
    everyone = torch.zeros_like(images.is_padding)
    alignment = align(images.fragments, everyone, captions.fragments, captions.is_padding)
    fraction = float(batch.settings["threshold"])
    connection = connect(images.embeddings, captions.embeddings, alignment, fraction=fraction)
    relevance = batch.instance_level.relevance(images.embeddings, captions.embeddings, alignment)
    note = " (region masking off)"
    comparison.edges(
        f"out.connection.i2t{note}",
        connection.image_to_text,
        arrays["out.connection.i2t"],
        is_at_cut=_is_at_cut(alignment.image_to_text_means(), fraction),
    )
    ours = relevance.image_to_text
    comparison.close(f"out.relevance.i2t{note}", ours, arrays["out.relevance.i2t"])


def _compare_losses(
    batch: RecordedBatch,
    arrays: _Tracked,
    comparison: Comparison,
    images: EncodedItems,
    captions: EncodedItems,
    connection: RelationBlocks,
    relevance: RelationBlocks,
) -> None:
    settings = batch.settings
    v, u = images.embeddings, captions.embeddings
    image_ids = batch.arrays["in.image_ids"]
    v_enhanced, u_enhanced = batch.instance_level.interaction(v, u, connection, relevance)
    regulariser = relevance_regulariser(relevance, v, u, sigma=settings["sigma"])

    def matching(left: Tensor, right: Tensor, kind: Any) -> Tensor:
        margin = settings["margin"]
        return matching_loss(left, right, image_ids, kind=kind, margin=margin, cutoff=batch.cutoff)

    follows = {
        "out.image_embedding_enhanced": v_enhanced,
        "out.caption_embedding_enhanced": u_enhanced,
    }
    for is_hardest, kind in LOSS_KINDS.items():
        name = f"out.loss.triplet_sum.max_violation_{is_hardest}"
        comparison.close(name, matching(v, u, kind), arrays[name])
        pairs = ((v, u), (v_enhanced, u_enhanced), (v_enhanced, u), (v, u_enhanced))
        total = sum(matching(left, right, kind) for left, right in pairs)
        total = total + settings["reg_loss_weight"] * regulariser
        follows[f"out.loss.total.max_violation_{is_hardest}"] = total
    if batch.has_padding_that_matters:
        for name in ("out.regularization_loss", *follows):
            comparison.leave_out(name, PADDING)
            arrays.seen(name)
        return
    for name, ours in follows.items():
        comparison.close(name, ours, arrays[name])
    name = "out.regularization_loss"
    comparison.relative(name, regulariser, arrays[name], tolerance=1e-3)


def _compare_sampling_of_batch(
    batch: RecordedBatch,
    arrays: _Tracked,
    comparison: Comparison,
    images: EncodedItems,
    captions: EncodedItems,
) -> None:
    # The weights are steep: float64 leaves the recording's own rounding as the only one.
    cosine = images.embeddings.double() @ captions.embeddings.double().T
    ids = batch.arrays["in.image_ids"]
    for direction, scores in (("i2t", cosine), ("t2i", cosine.T)):
        name = f"out.sampling_probability.{direction}"
        ours, remark = _sampling(scores, ids, batch.cutoff)
        comparison.close(name, ours, arrays[name], remark)


@torch.no_grad()
def compare_sampling(folder: Path, comparison: Comparison, *, margin: float) -> None:
    """Compare `sampling.npz`: both cut-offs, distribution and loss of the given negatives."""
    arrays = _Tracked(read_arrays(folder / "sampling.npz"))
    # In float64, as above.
    images, captions = (arrays[f"in.{kind}_embeddings"].double() for kind in ("image", "caption"))
    cosine = images @ captions.T
    ids = arrays["in.image_ids"]
    anchors, positives = positive_pairs(ids)
    for data_set, cutoff in CUTOFFS.items():
        loss = torch.zeros(())
        for direction, scores in (("i2t", cosine), ("t2i", cosine.T)):
            name = f"out.{data_set}.probability.{direction}"
            ours, remark = _sampling(scores, ids, cutoff)
            comparison.close(f"sampling.npz {name}", ours, arrays[name], remark)
            negatives = arrays[f"out.{data_set}.negative.{direction}"]
            loss = loss + hinge(scores, anchors, positives, negatives, margin=margin).sum()
            comparison.leave_out(
                f"sampling.npz out.{data_set}.negative.{direction}",
                "given: the draw that the loss is computed from",
            )
        name = f"out.{data_set}.loss"
        comparison.close(f"sampling.npz {name}", loss, arrays[name])
    for name in ("in.image_embeddings", "in.caption_embeddings", "in.image_ids"):
        comparison.leave_out(f"sampling.npz {name}", "input")
    for name in arrays.unseen():
        comparison.leave_out(f"sampling.npz {name}", "no counterpart is known for this name")


def _sampling(scores: Tensor, image_ids: Tensor, cutoff: float) -> tuple[Tensor, str]:
    """Return the distribution of every positive pair, as the released code would record it."""
    anchors, _ = positive_pairs(image_ids)
    ours = distance_weighted_probabilities(scores, image_ids, cutoff=cutoff)
    share = released_share(scores, image_ids.tolist(), cutoff=cutoff)
    lost = int((share < 1 - 1e-6).sum())
    remark = (
        f"{lost} anchors scaled by what the released code loses to a negative beyond the cut-off"
        if lost
        else ""
    )
    return (ours * share[:, None])[anchors], remark


def _is_at_cut(scores: Tensor, fraction: float) -> Tensor:
    k = max(1, int(fraction * scores.shape[1]))
    cut = scores.sort(dim=1, descending=True).values[:, k - 1 : k]
    return (scores - cut).abs() <= AT_CUT


def _instance_level_weights(weights: Arrays) -> dict[str, Tensor]:
    renamed = {}
    for name, weight in weights.items():
        old = next(prefix for prefix in _INSTANCE_LEVEL_PREFIXES if name.startswith(prefix))
        renamed[_INSTANCE_LEVEL_PREFIXES[old] + name.removeprefix(old)] = weight
    return renamed


def _is_padding(count: int, lengths: Tensor) -> Tensor:
    return torch.arange(count) >= lengths[:, None]


def _under(arrays: Arrays, prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _flat(weights: Arrays) -> Tensor:
    """Return all values of a state dict in the order of the names."""
    return torch.cat([weights[name].double().flatten() for name in sorted(weights)])
