"""Tiny CLIP-like models of `transformers` with random weights, written as their own library does.

folder = tiny_pretrained(tmp_path, "siglip")
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AltCLIPConfig,
    AltCLIPModel,
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipModel,
)
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import (
    ChineseCLIPImageProcessorPil,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.utils import logging

from tests.worlds import IMAGE_SIDE, captions_of

__all__ = ["KINDS", "MAX_TOKENS", "tiny_pretrained"]

KINDS = ("clip", "siglip", "chinese_clip", "altclip")
MAX_TOKENS = 16
_TOWER = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_VISION = _TOWER | {"image_size": IMAGE_SIDE, "patch_size": 8}


def tiny_pretrained(folder: Path, kind: str = "clip", *, seed: int = 0) -> Path:
    """Write a model of that `model_type`, its tokenizer and image processor; return its folder."""
    place = folder / kind
    logging.disable_progress_bar()
    tokenizer = _TOKENIZERS[kind]()
    tokenizer.save_pretrained(place)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        _network(kind, tokenizer).save_pretrained(place)
    side = {"height": IMAGE_SIDE, "width": IMAGE_SIDE}
    if kind == "siglip":
        SiglipImageProcessorPil(size=side).save_pretrained(place)
    else:
        processor = (
            ChineseCLIPImageProcessorPil if kind == "chinese_clip" else CLIPImageProcessorPil
        )
        processor(size={"shortest_edge": IMAGE_SIDE + 4}, crop_size=side).save_pretrained(place)
    return place


def _network(kind: str, tokenizer: Any) -> torch.nn.Module:
    marks = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    text = _TOWER | marks | {"max_position_embeddings": MAX_TOKENS}
    if kind == "siglip":
        return SiglipModel(SiglipConfig(text_config=text, vision_config=_VISION))
    if kind == "chinese_clip":
        return ChineseCLIPModel(
            ChineseCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=12)
        )
    if kind == "altclip":
        # Like RoBERTa's, its positions begin behind the padding id.
        text |= {"max_position_embeddings": MAX_TOKENS + tokenizer.pad_token_id + 1}
        text |= {"project_dim": 16}
        return AltCLIPModel(
            AltCLIPConfig(text_config=text, vision_config=_VISION, projection_dim=12)
        )
    return CLIPModel(CLIPConfig(text_config=text, vision_config=_VISION, projection_dim=12))


def _captions() -> list[str]:
    return [caption for number in range(12) for caption in captions_of(number)]


def _clip_tokenizer() -> CLIPTokenizer:
    pairs = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    pairs.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    pairs.train_from_iterator(_captions(), trainer)
    learned = json.loads(pairs.to_str())["model"]
    merges = [tuple(merge) for merge in learned["merges"]]
    return CLIPTokenizer(vocab=learned["vocab"], merges=merges, model_max_length=MAX_TOKENS)


def _piece_tokenizer(**more: Any) -> PreTrainedTokenizerFast:
    pieces = Tokenizer(models.Unigram())
    pieces.normalizer = normalizers.Lowercase()
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    marks = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=120, special_tokens=marks, unk_token="<unk>", show_progress=False
    )
    pieces.train_from_iterator(_captions(), trainer)
    start = "" if more else "<s> "
    pieces.post_processor = processors.TemplateProcessing(
        single=f"{start}$A </s>", special_tokens=[(m, pieces.token_to_id(m)) for m in marks]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        **({"pad_token": "<pad>"} | more),
    )


def _siglip_tokenizer() -> PreTrainedTokenizerFast:
    # As SigLIP's: the end is the padding too, and no mask is handed out.
    return _piece_tokenizer(
        pad_token="</s>", model_input_names=["input_ids"], model_max_length=MAX_TOKENS
    )


def _bert_tokenizer() -> BertTokenizer:
    marks = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for caption in _captions() for word in caption.split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = [*marks, *dict.fromkeys([*words, *letters, *(f"##{letter}" for letter in letters)])]
    return BertTokenizer(vocab={piece: place for place, piece in enumerate(pieces)})


_TOKENIZERS = {
    "clip": _clip_tokenizer,
    "siglip": _siglip_tokenizer,
    "chinese_clip": _bert_tokenizer,
    "altclip": _piece_tokenizer,
}
