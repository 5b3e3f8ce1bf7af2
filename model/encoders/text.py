"""Words of a caption to its embedding.

Two word encoders: a bidirectional GRU over learned word vectors, and any BERT-like
encoder of `transformers`. The marks that open and close a caption count as words, in both.
"""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from model.config import TextEncoderConfig
from model.encoders.fragment_level import EncodedItems, FragmentLevel
from model.errors import CheckpointError

__all__ = ["BertWords", "BiGruWords", "TextEncoder"]


class BiGruWords(nn.Module):
    """Word vectors, one bidirectional GRU layer of `dim` a direction, the directions averaged.

    Source: the GPO code line that HREM builds on; HREM's own BiGRU settings are unpublished.
    """

    def __init__(self, *, vocabulary_size: int, word_dim: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, word_dim)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        self.gru = nn.GRU(word_dim, dim, batch_first=True, bidirectional=True)

    def forward(
        self, token_ids: Int[Tensor, "caption word"], is_padding: Bool[Tensor, "caption word"]
    ) -> Float[Tensor, "caption word dim"]:
        """Return projected words; rows of padding are zeros."""
        lengths = (~is_padding).sum(dim=1).cpu()
        # Packing makes the backward direction start at each caption's own last word.
        packed = pack_padded_sequence(
            self.embedding(token_ids), lengths, batch_first=True, enforce_sorted=False
        )
        states = self.gru(packed)[0]
        forward, backward = states.data.chunk(2, dim=1)
        return _unpacked((forward + backward) / 2, states, word_count=token_ids.shape[1])


def _unpacked(
    rows: Float[Tensor, "real_word dim"], layout: PackedSequence, *, word_count: int
) -> Float[Tensor, "caption word dim"]:
    """Return packed rows at their places, zeros elsewhere.

    One scatter: `pad_packed_sequence` copies the whole batch again, backwards, for every length.
    """
    captions_left = layout.batch_sizes.to(rows.device)  # (word,): how many have such a word
    word = torch.arange(len(captions_left), device=rows.device).repeat_interleave(captions_left)
    first = captions_left.cumsum(0) - captions_left
    assert layout.sorted_indices is not None  # packed unsorted
    caption = layout.sorted_indices[torch.arange(len(rows), device=rows.device) - first[word]]
    padded = rows.new_zeros(len(layout.sorted_indices), word_count, rows.shape[1])
    return padded.index_put((caption, word), rows)


class BertWords(nn.Module):
    """Last hidden states of a BERT-like encoder and a linear layer.

    Source: HREM (CVPR 2023), BERT variant.
    """

    def __init__(self, *, architecture: dict[str, Any], dim: int) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel  # takes seconds; BiGRU does without

        settings = dict(architecture)
        model_type = settings.pop("model_type", None)
        if model_type is None:
            raise CheckpointError("the text architecture has no model_type, e.g. 'bert'")
        config = AutoConfig.for_model(model_type, **settings)
        self.bert = AutoModel.from_config(config)
        # The pooler takes no part; left trainable it would never receive a gradient.
        if getattr(self.bert, "pooler", None) is not None:
            self.bert.pooler = None
        self.linear = nn.Linear(config.hidden_size, dim)

    def forward(
        self, token_ids: Int[Tensor, "caption word"], is_padding: Bool[Tensor, "caption word"]
    ) -> Float[Tensor, "caption word dim"]:
        """Return projected words."""
        hidden = self.bert(
            input_ids=token_ids, attention_mask=(~is_padding).long()
        ).last_hidden_state
        return self.linear(hidden)


class TextEncoder(nn.Module):
    """Encode the words of captions, relate and pool them."""

    def __init__(self, *, embedding_dim: int, config: TextEncoderConfig) -> None:
        super().__init__()
        self.words: BiGruWords | BertWords
        if config.kind == "bert":
            assert config.architecture is not None  # the configuration guarantees it
            self.words = BertWords(architecture=config.architecture, dim=embedding_dim)
        else:
            self.words = BiGruWords(
                vocabulary_size=config.vocabulary_size,
                word_dim=config.word_dim,
                dim=embedding_dim,
            )
        self.fragment_level = FragmentLevel(embedding_dim, config.fragment_level)

    def forward(
        self, token_ids: Int[Tensor, "caption word"], is_padding: Bool[Tensor, "caption word"]
    ) -> EncodedItems:
        """Return the encoded captions of a batch.

        Args:
            token_ids: Ids of the tokenizer, start and end marks included.
            is_padding: True = padding; every caption has at least one False.
        """
        return self.fragment_level(self.words(token_ids, is_padding), is_padding)
