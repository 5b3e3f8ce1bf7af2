"""The recorded numbers agree with ours, and the comparison would say so if one did not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from model.alignment import align
from model.command_line import run_command
from tests.parity.compare import Compare, compare_folder
from tests.parity.recorded_batch import read_arrays

FIXTURES = Path(__file__).parent / "fixtures"
KINDS = ("full", "ragged", "scan")


@pytest.fixture(scope="module")
def comparisons():
    return {kind: compare_folder(FIXTURES / kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_every_recorded_array_agrees(comparisons, kind):
    assert comparisons[kind].off == []


def test_every_array_is_compared_or_left_out_with_a_reason(comparisons):
    for kind in ("full", "ragged"):
        told = comparisons[kind].left_out.keys() | {c.name for c in comparisons[kind].compared}
        for file, prefix in (
            ("forward", ""),
            ("sampling", "sampling.npz "),
            ("recall", "recall.npz "),
        ):
            for name in read_arrays(FIXTURES / kind / f"{file}.npz"):
                assert f"{prefix}{name}" in told
    assert not [name for name in comparisons["full"].left_out if name.startswith("out.")]
    left_out = {name for name in comparisons["ragged"].left_out if name.startswith("out.")}
    assert left_out == {
        "out.connection.i2t",
        "out.connection.t2i",
        "out.relevance.i2t",
        "out.relevance.t2i",
        "out.regularization_loss",
        "out.image_embedding_enhanced",
        "out.caption_embedding_enhanced",
        "out.loss.total.max_violation_False",
        "out.loss.total.max_violation_True",
    }


def _names(kind: str) -> list[str]:
    """Return what a comparison of this kind compares; a test above holds it to the files."""
    if kind == "scan":
        both = ["image", "caption"]
        return [*both, *(f"official_result.json {n}" for n in ("i2t", "t2i", "rsum"))]
    forward = [n for n in read_arrays(FIXTURES / kind / "forward.npz") if n.startswith("out.")]
    if kind == "ragged":
        masked = ("i2t", "t2i")
        follows = ("enhanced", "regularization_loss", "loss.total")
        forward = [
            name
            for name in forward
            if not name.startswith(tuple(f"out.{m}.t2i" for m in ("connection", "relevance")))
            and not any(part in name for part in follows)
        ]
        forward = [
            f"{n} (region masking off)" if n.endswith(masked) and "sampling" not in n else n
            for n in forward
        ]
    sampling = [
        f"sampling.npz {name}"
        for name in read_arrays(FIXTURES / kind / "sampling.npz")
        if name.startswith("out.") and ".negative." not in name
    ]
    recall = [f"recall.npz {name}" for name in ("i2t", "t2i", "i2t_rank", "t2i_rank")]
    return [*forward, *sampling, *recall]


CASES = [(kind, name) for kind in KINDS for name in _names(kind)]


def test_the_cases_below_are_all_that_is_compared(comparisons):
    for kind in KINDS:
        compared = {line.name for line in comparisons[kind].compared}
        # Weights are inputs as well; BERT's sizes have a test of their own.
        rest = {
            n for n in compared if n.startswith(("model_best.pth", "official_result.json bert"))
        }
        assert compared - rest == {name for k, name in CASES if k == kind}


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_one_moved_entry_is_named_and_nothing_else(tmp_path, kind, name):
    folder = _linked_copy(kind, tmp_path)
    _move_one_entry(folder, kind, name)
    assert compare_folder(folder).off == [name]


def _linked_copy(kind: str, place: Path) -> Path:
    """Return a folder of links to a fixture; files that change are written anew."""
    folder = place / kind
    folder.mkdir()
    for path in (FIXTURES / kind).iterdir():
        (folder / path.name).symlink_to(path)
    return folder


def _move_one_entry(folder: Path, kind: str, name: str) -> None:
    rng = np.random.default_rng(list(name.encode()))
    if name.startswith("official_result.json "):
        result = json.loads((folder / "official_result.json").read_text())
        key = name.removeprefix("official_result.json ")
        if isinstance(result[key], list):
            result[key][rng.integers(5)] += 1
        else:
            result[key] += 0.01
        (folder / "official_result.json").unlink()
        (folder / "official_result.json").write_text(json.dumps(result))
        return
    if kind == "scan":
        file, key = "official_embeddings.npz", name
    elif name.startswith(("sampling.npz", "recall.npz")):
        file, key = name.split()
    else:
        file, key = "forward.npz", name.removesuffix(" (region masking off)")
    with np.load(folder / file) as stored:
        arrays = {k: np.array(stored[k]) for k in stored.files}
    moved = arrays[key]
    place = tuple(rng.integers(size) for size in moved.shape)
    if moved.dtype == bool:
        place = _edge_far_from_its_cut(arrays, key, is_unmasked="region masking" in name)
        moved[place] = not moved[place]
    elif key.endswith("_rank"):
        moved[place] += 1
    elif key == "out.regularization_loss":
        moved *= 1.01
    else:
        moved[place] += 1e-2 * max(1.0, abs(float(moved[place])))
    (folder / file).unlink()
    np.savez(folder / file, **arrays)


def _edge_far_from_its_cut(
    arrays: dict[str, np.ndarray], key: str, *, is_unmasked: bool
) -> tuple[int, ...]:
    """Return the edge whose score is farthest from the k-th largest of its row."""
    scores = _scores({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}, is_unmasked)
    row_scores = scores[key.removeprefix("out.connection.")]
    cut = row_scores.sort(dim=1, descending=True).values[:, row_scores.shape[1] // 2 - 1]
    distance = (row_scores - cut[:, None]).abs()
    assert float(distance.max()) > 1e-3
    return tuple(int(n) for n in np.unravel_index(int(distance.argmax()), distance.shape))


def _scores(arrays: dict[str, torch.Tensor], is_unmasked: bool) -> dict[str, torch.Tensor]:
    regions, words = arrays["out.region_embeddings"], arrays["out.word_embeddings"]
    no_region = torch.arange(regions.shape[1]) >= arrays["in.region_lengths"][:, None]
    no_word = torch.arange(words.shape[1]) >= arrays["in.token_lengths"][:, None]
    alignment = align(regions, no_region & (not is_unmasked), words, no_word)
    images, captions = arrays["out.image_embedding"], arrays["out.caption_embedding"]
    return {
        "i2i": images @ images.T,
        "t2t": captions @ captions.T,
        "i2t": alignment.image_to_text_means(),
        "t2i": alignment.text_to_image_means(),
    }


def test_an_edge_at_its_cut_may_differ_and_what_follows_uses_the_recorded_one(tmp_path):
    folder = _linked_copy("full", tmp_path)
    with np.load(folder / "forward.npz") as stored:
        arrays = {k: np.array(stored[k]) for k in stored.files}
    scores = _scores({k: torch.from_numpy(np.array(v)) for k, v in arrays.items()}, False)["i2t"]
    at_cut = int(scores[3].sort(descending=True).indices[scores.shape[1] // 2 - 1])
    assert arrays["out.connection.i2t"][3, at_cut]
    arrays["out.connection.i2t"][3, at_cut] = False
    (folder / "forward.npz").unlink()
    np.savez(folder / "forward.npz", **arrays)

    comparison = compare_folder(folder)

    assert "out.connection.i2t" not in comparison.off
    # Our enhanced images now follow the edited graph, the recorded ones the original.
    assert "out.image_embedding_enhanced" in comparison.off
    assert "out.caption_embedding_enhanced" not in comparison.off


@pytest.mark.parametrize(
    ("state", "unused_weight"),
    [
        ("image", "image_encoder.fc.mlp.bns.1.weight"),
        ("text", "text_encoder.bert.pooler.dense.bias"),
    ],
)
def test_a_changed_weight_of_the_checkpoint_file_is_named(tmp_path, state, unused_weight):
    folder = _linked_copy("full", tmp_path)
    with np.load(folder / "weights.npz") as stored:
        arrays = {k: np.array(stored[k]) for k in stored.files}
    arrays[unused_weight][0] += 1e-3  # takes no part in any output
    (folder / "weights.npz").unlink()
    np.savez(folder / "weights.npz", **arrays)
    assert compare_folder(folder).off == [f"model_best.pth {state} state"]


def test_a_wrong_size_of_bert_is_named(tmp_path):
    folder = _linked_copy("scan", tmp_path)
    result = json.loads((folder / "official_result.json").read_text())
    result["bert"]["intermediate_size"] += 1
    (folder / "official_result.json").unlink()
    (folder / "official_result.json").write_text(json.dumps(result))
    assert compare_folder(folder).off == ["official_result.json bert.intermediate_size"]


def test_a_missing_array_a_wrong_shape_and_a_nan_are_named(tmp_path):
    folder = _linked_copy("full", tmp_path)
    with np.load(folder / "forward.npz") as stored:
        arrays = {k: np.array(stored[k]) for k in stored.files}
    del arrays["out.bert_hidden"]
    arrays["out.relevance.i2i"] = arrays["out.relevance.i2i"][:-1]
    arrays["out.connection.t2t"] = arrays["out.connection.t2t"][:, :-1]
    arrays["out.image_embedding"][0, 0] = np.nan
    (folder / "forward.npz").unlink()
    np.savez(folder / "forward.npz", **arrays)
    assert set(compare_folder(folder).off) == {
        "out.bert_hidden",
        "out.relevance.i2i",
        "out.connection.t2t",
        "out.image_embedding",
    }


def test_the_command_exits_1_and_names_what_is_off(tmp_path, capsys):
    assert run_command("compare", Compare, [str(FIXTURES / "full")]) == 0
    assert "all 36 agree" in capsys.readouterr().out
    folder = _linked_copy("full", tmp_path)
    _move_one_entry(folder, "full", "out.relevance.t2i")
    assert run_command("compare", Compare, [str(folder)]) == 1
    assert "OFF: out.relevance.t2i" in capsys.readouterr().out
    assert run_command("compare", Compare, [str(folder), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["off"] == ["out.relevance.t2i"]


def test_a_folder_of_another_kind_is_refused(tmp_path, capsys):
    assert run_command("compare", Compare, [str(tmp_path)]) == 1
    assert "neither forward.npz nor" in capsys.readouterr().err
    shutil.copy(FIXTURES / "full/forward.npz", tmp_path)
    assert run_command("compare", Compare, [str(tmp_path)]) == 1
    assert "config.json" in capsys.readouterr().err
