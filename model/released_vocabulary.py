"""The vocabulary of a released checkpoint, which is not in its file.

- BERT: a `vocab.txt` or a `tokenizer.json`, in a folder or on the model hub.
- BiGRU: the JSON file of the GPO code line, {word2idx, idx2word, idx}. That code split captions
  with NLTK's word tokenizer; here one regular expression does what it does to captions: punctuation
  stands alone, `n't` and `'s` are words of their own, hyphens stay inside.

Differs: NLTK also rewrites double quotes, splits a few slang words (gonna, cannot), and cuts a
caption into sentences first; this tokenizer does none of it.
"""

import json
from pathlib import Path
from typing import Literal

from tokenizers import Regex, pre_tokenizers

from model.errors import CheckpointError
from model.inputs.captions import CaptionTokenizer

__all__ = ["load_word_pieces", "load_words", "vocabulary_file"]

_EXPECTED = "give a folder with tokenizer.json or vocab.txt, or the name of a model on the hub"
_CLITICS = "'(?:s|m|d|ll|re|ve)(?![\\p{L}\\p{N}])"
_TREEBANK_WORDS = (
    # A word that n't follows ends before it; an inner full stop, hyphen or slash does not end one.
    r"[\p{L}\p{N}]+?(?=n't(?![\p{L}\p{N}]))|n't(?![\p{L}\p{N}])|"
    + _CLITICS
    + r"|[\p{L}\p{N}]+(?:(?!"
    + _CLITICS
    + r")['’./_-][\p{L}\p{N}]+)*|\.\.\.|--|[^\s\p{L}\p{N}]"
)


def vocabulary_file(place: str | Path) -> Path | None:
    """Return the file that holds the vocabulary at `place`, or None where `place` is a hub name.

    Raises:
        CheckpointError: `place` is a folder or file without a vocabulary.
    """
    path = Path(place)
    if path.is_file():
        return path
    if path.is_dir():
        # A tokenizer.json also says how captions are normalised.
        for name in ("tokenizer.json", "vocab.txt"):
            if (path / name).is_file():
                return path / name
        raise CheckpointError(f"no vocabulary in the folder '{place}'; {_EXPECTED}")
    is_path = str(place).startswith((".", "/", "~")) or str(place).count("/") > 1
    if isinstance(place, Path) or is_path:
        raise CheckpointError(f"no vocabulary at '{place}'; {_EXPECTED}")
    return None


def load_word_pieces(
    place: str | Path, *, lower_case: bool, max_word_count: int
) -> CaptionTokenizer:
    """Return the tokenizer of a BERT.

    Args:
        place: A folder, a file, or a hub name.
        lower_case: Of a `vocab.txt`; a `tokenizer.json` and the hub say it by themselves.
        max_word_count: Longest caption in ids, marks included.

    Raises:
        CheckpointError: There is none at `place`, or it is damaged.
    """
    file = vocabulary_file(place)
    if file is None:
        try:
            return CaptionTokenizer.from_pretrained(str(place), max_word_count=max_word_count)
        except CheckpointError as error:
            raise CheckpointError(
                f"no tokenizer '{place}': there is no such folder, and it could not be fetched "
                f"from the model hub; {_EXPECTED}"
            ) from error
    if file.name == "tokenizer.json":
        return CaptionTokenizer.load(file.parent, max_word_count=max_word_count)
    if file.suffix != ".txt":
        raise CheckpointError(f"'{file}' is no vocabulary of a BERT; {_EXPECTED}")
    return CaptionTokenizer.from_vocabulary(
        file, lower_case=lower_case, max_word_count=max_word_count
    )


def load_words(
    place: str | Path,
    *,
    split: Literal["treebank", "whitespace"] = "treebank",
    lower_case: bool,
    max_word_count: int,
) -> CaptionTokenizer:
    """Return the tokenizer of a BiGRU from its code line's vocabulary, a JSON file.

    Args:
        place: The file.
        split: As NLTK's word tokenizer, or at white space where captions come tokenized.
        lower_case: Captions are lower-cased.
        max_word_count: Longest caption in ids, marks included.

    Raises:
        CheckpointError: It is not such a file.
    """
    expected = 'a BiGRU needs its vocabulary as JSON: {"word2idx": {word: id, ...}, ...}'
    try:
        found = json.loads(Path(place).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{place}' cannot be read as JSON; {expected}") from error
    ids = found.get("word2idx") if isinstance(found, dict) else None
    if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
        raise CheckpointError(f"'{place}' has no word2idx with a number for each word; {expected}")
    if sorted(ids.values()) != list(range(len(ids))):
        raise CheckpointError(f"the ids in '{place}' are not 0 to {len(ids) - 1}, each once")
    pattern = _TREEBANK_WORDS if split == "treebank" else r"\S+"
    splitter = pre_tokenizers.Split(Regex(pattern), behavior="removed", invert=True)
    return CaptionTokenizer.from_words(
        ids, splitter=splitter, lower_case=lower_case, max_word_count=max_word_count
    )
