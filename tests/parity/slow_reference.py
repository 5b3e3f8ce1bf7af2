"""HREM read aloud: every formula as loops over items, in float64, for fast code to agree with.

Written from the paper's equations and this project's statement of them, never from the released
code. Items are lists of tensors of their own length, so there is no padding that could leak.
Written to be read beside the paper, not to be fast: a batch of 200 would take minutes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def unit(vector: Tensor) -> Tensor:
    """x / (norm + 1e-8)."""
    return vector / (math.sqrt(float((vector * vector).sum())) + 1e-8)


def linear(weights: Weights, prefix: str, row: Tensor) -> Tensor:
    return weights[f"{prefix}weight"].double() @ row + weights[f"{prefix}bias"].double()


def layer_norm(weights: Weights, prefix: str, row: Tensor) -> Tensor:
    centred = row - row.mean()
    scaled = centred / torch.sqrt((centred * centred).mean() + 1e-5)
    return scaled * weights[f"{prefix}weight"].double() + weights[f"{prefix}bias"].double()


def attention_block(
    weights: Weights,
    prefix: str,
    queries: Sequence[Tensor],
    keys: Sequence[Tensor],
    *,
    head_count: int,
    may_attend: Tensor | None = None,
    bias: Tensor | None = None,
) -> list[Tensor]:
    """Attention, residual, LayerNorm, feed-forward (ReLU), residual, LayerNorm; node by node."""
    dim = len(queries[0])
    size = dim // head_count
    in_weight = weights[f"{prefix}self_attn.in_proj_weight"].double()
    in_bias = weights[f"{prefix}self_attn.in_proj_bias"].double()
    updated = []
    for row, node in enumerate(queries):
        query = in_weight[:dim] @ node + in_bias[:dim]
        neighbours = [c for c in range(len(keys)) if may_attend is None or may_attend[row, c]]
        attended = node
        if neighbours:
            heads = []
            for head in range(head_count):
                part = slice(head * size, (head + 1) * size)
                logits, values = [], []
                for column in neighbours:
                    key = in_weight[dim : 2 * dim] @ keys[column] + in_bias[dim : 2 * dim]
                    values.append((in_weight[2 * dim :] @ keys[column] + in_bias[2 * dim :])[part])
                    logit = float(query[part] @ key[part]) / math.sqrt(size)
                    logits.append(logit + (0.0 if bias is None else float(bias[row, column])))
                heads.append(sum(p * v for p, v in zip(softmax(logits), values, strict=True)))
            attended = node + linear(weights, f"{prefix}self_attn.out_proj.", torch.cat(heads))
        middle = layer_norm(weights, f"{prefix}norm1.", attended)
        widened = linear(weights, f"{prefix}linear1.", middle).clamp(min=0)
        narrowed = linear(weights, f"{prefix}linear2.", widened)
        updated.append(layer_norm(weights, f"{prefix}norm2.", middle + narrowed))
    return updated


def softmax(logits: Sequence[float]) -> list[float]:
    top = max(logits)
    powers = [math.exp(logit - top) for logit in logits]
    return [power / sum(powers) for power in powers]


# ---- fragment level -----------------------------------------------------------------------------


def project_region(weights: Weights, names: Mapping[str, str], region: Tensor) -> Tensor:
    """Linear + MLP of one region, batch norm by its running statistics."""
    hidden = linear(weights, names["hidden"], region)
    norm = {k: weights[names["batch_norm"] + k].double() for k in ("running_mean", "running_var")}
    hidden = (hidden - norm["running_mean"]) / torch.sqrt(norm["running_var"] + 1e-5)
    scale, shift = (weights[names["batch_norm"] + k].double() for k in ("weight", "bias"))
    hidden = (hidden * scale + shift).clamp(min=0)
    return linear(weights, names["linear"], region) + linear(weights, names["output"], hidden)


def pool(
    weights: Weights,
    prefix: str,
    fragments: Sequence[Tensor],
    *,
    head_count: int,
    pooling_weight: float,
    top_k: int = 2,
) -> Tensor:
    """b * top-k mean(projected) + (1 - b) * mean(related), before unit length."""
    related = attention_block(weights, prefix, fragments, fragments, head_count=head_count)
    pooled = []
    for channel in range(len(fragments[0])):
        largest = sorted((float(f[channel]) for f in fragments), reverse=True)[:top_k]
        mean_related = sum(float(r[channel]) for r in related) / len(related)
        top = sum(largest) / len(largest)
        pooled.append(pooling_weight * top + (1 - pooling_weight) * mean_related)
    return torch.tensor(pooled, dtype=torch.float64)


def bigru(weights: Weights, embedding: str, gru: str, token_ids: Sequence[int]) -> list[Tensor]:
    """Each word's state: the mean of a forward and a backward GRU over this caption alone."""
    words = [weights[embedding][token].double() for token in token_ids]
    forward = _gru(weights, gru, "", words)
    backward = _gru(weights, gru, "_reverse", words[::-1])[::-1]
    return [(f + b) / 2 for f, b in zip(forward, backward, strict=True)]


def _gru(weights: Weights, prefix: str, direction: str, words: Sequence[Tensor]) -> list[Tensor]:
    parts = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    w_in, w_state, b_in, b_state = (weights[f"{prefix}{p}{direction}"].double() for p in parts)
    state = torch.zeros(w_state.shape[1], dtype=torch.float64)
    states = []
    for word in words:
        reset_in, update_in, new_in = (w_in @ word + b_in).chunk(3)
        reset_state, update_state, new_state = (w_state @ state + b_state).chunk(3)
        reset = torch.sigmoid(reset_in + reset_state)
        update = torch.sigmoid(update_in + update_state)
        new = torch.tanh(new_in + reset * new_state)
        state = (1 - update) * new + update * state
        states.append(state)
    return states


# ---- instance level -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """p (score) and q (the K largest maxima, descending) of one ordered pair of items."""

    p: float
    q: Tensor


def align(listeners: Tensor, others: Tensor, *, count: int) -> Alignment:
    """Match each fragment of the updated item with the fragments that it listens to.

    Cosine, LeakyReLU(0.1), then unit length over the *listening* fragments (regions for
    image -> text, words for text -> image), maximum over the others, mean over the listeners.
    """
    cosines = [[float(unit(a) @ unit(b)) for b in others] for a in listeners]
    leaky = [[c if c > 0 else 0.1 * c for c in row] for row in cosines]
    for column in range(len(others)):
        norm = math.sqrt(sum(row[column] ** 2 for row in leaky)) + 1e-8
        for row in leaky:
            row[column] /= norm
    maxima = [max(row) for row in leaky]
    largest = sorted(maxima, reverse=True)[:count]
    filled = largest + [0.0] * (count - len(largest))
    return Alignment(sum(maxima) / len(maxima), torch.tensor(filled, dtype=torch.float64))


def align_all(
    updated: Sequence[Tensor], listened_to: Sequence[Tensor], *, count: int
) -> tuple[Tensor, Tensor]:
    """Return p (row, column) and q (row, column, K), one pair of items at a time."""
    found = [[align(a, b, count=count) for b in listened_to] for a in updated]
    p = torch.tensor([[pair.p for pair in row] for row in found], dtype=torch.float64)
    return p, torch.stack([torch.stack([pair.q for pair in row]) for row in found])


def connection(scores: Tensor, *, fraction: float = 0.5) -> Tensor:
    """Per row: True where the score reaches the k-th largest, k = max(1, floor(f * columns))."""
    rows, columns = scores.shape
    k = max(1, math.floor(fraction * columns))
    connected = torch.zeros(rows, columns, dtype=torch.bool)
    for row in range(rows):
        cut = sorted(scores[row].tolist(), reverse=True)[k - 1]
        for column in range(columns):
            connected[row, column] = float(scores[row, column]) >= cut
    return connected


def cosines(rows: Tensor, columns: Tensor) -> Tensor:
    """Cosine of every row with every column, both of unit length."""
    values = [[float(a.double() @ b.double()) for b in columns] for a in rows]
    return torch.tensor(values, dtype=torch.float64)


def distance(a: Tensor, b: Tensor) -> float:
    return math.sqrt(float(((a.double() - b.double()) ** 2).sum()))


def closeness(rows: Tensor, columns: Tensor, *, sigma: float) -> Tensor:
    """exp(-||a - b|| / sigma): intra-modal S, and G between the modalities."""
    values = [[math.exp(-distance(a, b) / sigma) for b in columns] for a in rows]
    return torch.tensor(values, dtype=torch.float64)


def inter_relevance(weights: Weights, first: str, second: str, p: Tensor, q: Tensor) -> Tensor:
    """MLP(q) + p, one pair at a time."""
    relevance = torch.zeros_like(p)
    for row in range(p.shape[0]):
        for column in range(p.shape[1]):
            hidden = linear(weights, first, q[row, column]).clamp(min=0)
            relevance[row, column] = linear(weights, second, hidden)[0] + p[row, column]
    return relevance


def fusion(
    weights: Weights,
    prefix: str,
    images: Tensor,
    captions: Tensor,
    connected: Tensor,
    relevance: Tensor,
    *,
    relevance_weight: float,
    head_count: int,
) -> tuple[Tensor, Tensor]:
    """All 2N nodes (unit rows) at once, each listening to its neighbours; returns unit rows."""
    nodes = [v.double() for v in [*images, *captions]]
    updated = attention_block(
        weights,
        prefix,
        nodes,
        nodes,
        head_count=head_count,
        may_attend=connected,
        bias=relevance_weight * relevance,
    )
    rows = torch.stack([unit(node) for node in updated])
    return rows[: len(images)], rows[len(images) :]


def standalone(
    weights: Mapping[str, Weights],
    images: Tensor,
    captions: Tensor,
    connected: Mapping[str, Tensor],
    relevance: Mapping[str, Tensor],
    *,
    relevance_weight: float,
    head_count: int,
) -> tuple[Tensor, Tensor]:
    """Across the modalities, then within each; a step without weights is left out; unit rows.

    `weights`, `connected` and `relevance` go by block: the node that is updated, then what it
    listens to.
    """

    def step(block: str, nodes: list[Tensor], sources: list[Tensor]) -> list[Tensor]:
        if block not in weights:
            return nodes
        return attention_block(
            weights[block],
            "",
            nodes,
            sources,
            head_count=head_count,
            may_attend=connected[block],
            bias=relevance_weight * relevance[block],
        )

    v, u = [row.double() for row in images], [row.double() for row in captions]
    v_across = step("image_to_text", v, u)
    u_across = step("text_to_image", u, v)
    v_within = step("image_to_image", v_across, v_across)
    u_within = step("text_to_text", u_across, u_across)
    return torch.stack([unit(v) for v in v_within]), torch.stack([unit(u) for u in u_within])


def regularisation(inter: Tensor, close: Tensor) -> float:
    """KL(softmax(S row) || softmax(G row)), mean over rows."""
    total = 0.0
    for s_row, g_row in zip(inter.tolist(), close.tolist(), strict=True):
        p, q = softmax(s_row), softmax(g_row)
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))
    return total / len(inter)


# ---- matching losses ----------------------------------------------------------------------------


def positive_pairs(image_ids: Sequence[int]) -> list[tuple[int, int]]:
    """(anchor, positive) for every pair of rows of the same image, anchors first."""
    rows = range(len(image_ids))
    return [(a, p) for a in rows for p in rows if image_ids[a] == image_ids[p]]


def sampling_probability(
    anchors: Tensor, others: Tensor, image_ids: Sequence[int], *, cutoff: float, dim: int = 512
) -> Tensor:
    """Distance-weighted distribution of negatives, one row per positive pair.

    A row without a valid negative is all zeros.
    """
    rows = []
    for anchor, _positive in positive_pairs(image_ids):
        logs = {}
        for other in range(len(others)):
            away = distance(anchors[anchor], others[other])
            if image_ids[other] == image_ids[anchor] or away >= cutoff:
                continue
            near = max(away, 0.5)
            logs[other] = (2 - dim) * math.log(near) - (dim - 3) / 2 * math.log(1 - near**2 / 4)
        row = [0.0] * len(others)
        if logs:
            for other, probability in zip(logs, softmax(list(logs.values())), strict=True):
                row[other] = probability
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float64)


def sampled_loss(
    anchors: Tensor,
    others: Tensor,
    image_ids: Sequence[int],
    negatives: Sequence[int | None],
    *,
    margin: float = 0.2,
) -> float:
    """Hinge over the positive pairs of one direction with a negative each; None is skipped."""
    scores = cosines(anchors, others)
    total = 0.0
    for (anchor, positive), negative in zip(positive_pairs(image_ids), negatives, strict=True):
        if negative is not None:
            gap = margin + float(scores[anchor, negative]) - float(scores[anchor, positive])
            total += max(0.0, gap)
    return total


def violation_loss(
    images: Tensor,
    captions: Tensor,
    image_ids: Sequence[int],
    *,
    hardest: bool,
    margin: float = 0.2,
) -> float:
    """Sum over matched rows and both directions of all violations, or of the hardest one."""
    scores = cosines(images, captions)
    total = 0.0
    for row in range(len(image_ids)):
        matched = float(scores[row, row])
        others = [c for c in range(len(image_ids)) if image_ids[c] != image_ids[row]]
        for direction in (scores[row, :], scores[:, row]):
            hinges = [max(0.0, margin + float(direction[c]) - matched) for c in others]
            total += max(hinges, default=0.0) if hardest else sum(hinges)
    return total


def released_share(
    scores: Tensor, image_ids: Sequence[int], *, cutoff: float, dim: int = 512
) -> Tensor:
    """Return what is left of each anchor's distribution in the released code's arithmetic.

    It scales weights by the largest one of the row, a negative beyond the cut-off included, and
    adds 1e-20 to their sum. Where such a negative outweighs the valid ones, they fade: a row sums
    to less than 1. Ours sums to 1 always; this factor is all that differs.
    """
    shares = []
    for anchor, row in enumerate(scores.double().tolist()):
        valid, beyond = [], []
        for other, cosine in enumerate(row):
            if image_ids[other] == image_ids[anchor]:
                continue
            away = math.sqrt(max(0.0, 2 - 2 * cosine))
            near = max(away, 0.5)
            shape = max(1 - near**2 / 4, 1e-8)
            weight = (2 - dim) * math.log(near) - (dim - 3) / 2 * math.log(shape)
            (beyond if away >= cutoff else valid).append(weight)
        top = max([*valid, *beyond], default=0.0)
        mass = sum(math.exp(weight - top) for weight in valid)
        shares.append(mass / (mass + 1e-20))
    return torch.tensor(shares)
