"""Where a checkpoint lies, and what is said when it lies nowhere."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import transformers

from model.errors import CheckpointError
from model.hub import local_folder
from model.inputs.backbone import load_pretrained_backbone
from model.inputs.captions import CaptionTokenizer

NAME = "openai/clip-nope"


def refused(given: str | Path) -> str:
    with pytest.raises(CheckpointError, match="no checkpoint at") as caught:
        local_folder(given)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """A hub whose answer to a question about a model is `answers["info"]`, with an empty cache."""
    answers: dict[str, object] = {"fetched": []}

    def answer(*_: object, **given: object) -> None:
        assert given["timeout"] == 10
        if isinstance(answers["info"], Exception):
            raise answers["info"]

    def fetch(_: str, *, local_files_only: bool, **__: object) -> str:
        if local_files_only and "cached" not in answers:
            raise huggingface_hub.errors.LocalEntryNotFoundError("nothing here")
        return str(answers.get("cached", "fetched"))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", answer)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    return answers


def http_error(kind: type[Exception]) -> Exception:
    error = kind.__new__(kind)
    Exception.__init__(error, "404")
    return error


def test_a_wrong_path_is_told_with_the_names_that_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    assert f"'{tmp_path}/mdoel' (beside it: {tmp_path}/model); train one with" in refused(
        tmp_path / "mdoel"
    )
    assert "beside it" not in refused(tmp_path / "other")
    assert "beside it" not in refused(tmp_path / "nowhere" / "model")


def test_without_network_it_is_said_how_to_fetch_the_model_elsewhere(
    hub: dict[str, object],
) -> None:
    hub["info"] = OSError("Name or service not known")
    message = refused(NAME)
    assert "could not be fetched from the model hub, which cannot be reached (OSError" in message
    assert f"hf download {NAME} --local-dir clip/" in message
    hub["cached"] = "cache/clip"
    assert local_folder(NAME) == Path("cache/clip")


def test_a_name_that_the_hub_does_not_have_is_told_as_that(
    hub: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub["info"] = http_error(huggingface_hub.errors.RepositoryNotFoundError)
    assert "the model hub, which has no such model" in refused(NAME)
    (tmp_path / "checkpoints" / "scenes").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert "no such folder (beside it: checkpoints/scenes)" in refused("checkpoints/scense")


def test_a_model_that_the_hub_has_is_fetched(hub: dict[str, object]) -> None:
    hub["info"] = None
    assert local_folder(NAME) == Path("fetched")


@pytest.mark.parametrize("name", [NAME, "bert-base-uncased"])
@pytest.mark.parametrize(
    ("library", "load"),
    [
        (transformers.AutoModel, load_pretrained_backbone),
        (
            transformers.AutoTokenizer,
            partial(CaptionTokenizer.from_pretrained, max_word_count=9),
        ),
    ],
    ids=["backbone", "tokenizer"],
)
def test_what_the_hub_has_is_not_waited_for_without_network(
    hub: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    library: type,
    load: Callable[[str], object],
    name: str,
) -> None:
    hub["info"] = OSError("Name or service not known")
    looked_up: list[object] = []
    monkeypatch.setattr(
        library,
        "from_pretrained",
        lambda _, local_files_only: looked_up.append(local_files_only) or fail(),
    )
    with pytest.raises(CheckpointError, match="Name or service not known"):
        load(name)
    assert looked_up == [True]


def test_a_mistyped_folder_of_a_network_is_told_with_what_lies_beside_it(
    hub: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub["info"] = http_error(huggingface_hub.errors.RepositoryNotFoundError)
    (tmp_path / "mobilenet-v2").mkdir()
    monkeypatch.chdir(tmp_path)
    beside = r"'mobilenetv2' \(beside it: mobilenet-v2\)"
    with pytest.raises(CheckpointError, match=f"network at {beside} .the model hub has no such"):
        load_pretrained_backbone("mobilenetv2")
    with pytest.raises(CheckpointError, match=f"no tokenizer at {beside}"):
        CaptionTokenizer.from_pretrained("mobilenetv2", max_word_count=9)
    # What can be no name of the hub is not asked for there.
    hub["info"] = AssertionError("asked")
    with pytest.raises(CheckpointError, match="there is no such folder"):
        load_pretrained_backbone(f"{tmp_path}/mobilenetv2")


def fail() -> None:
    raise OSError("nothing in the cache")
