"""The benchmarks of speed: what they compare is the same work, and what they print adds up."""

import json
import time
from dataclasses import replace

import pytest
import torch

from benchmarks import training_step
from benchmarks.index_build import _timed, _write_checkpoint
from benchmarks.index_changes import _Changes, _made_up_gallery
from benchmarks.query import QueryBenchmark, best_by_embedding, best_by_fragments, score_fragments
from benchmarks.relation_graph import (
    DROPPED_FRACTION,
    RelationGraphBenchmark,
    Sizes,
    align_by_loop,
    make_pairs,
    make_side,
    measure_memory,
)
from benchmarks.stopwatch import MIB, Rounds, timed_rounds
from benchmarks.training_step import Step, TrainingStepBenchmark
from index_builder.encoding.workers import allowed_core_count
from index_builder.index_folder.versions import IndexFolder
from model.alignment import align
from model.command_line import run_command
from model.encoders.pooling import unit_length

SIZES = Sizes(pairs=6, regions=7, words=5, longest=9, dim=16, top_k=3)


def test_sides_are_timed_in_turns_after_one_untimed_run_each():
    order = []
    timed = timed_rounds({side: lambda side=side: order.append(side) for side in "ab"}, rounds=2)
    assert order == ["a", "b"] * 3
    assert [len(seconds) for seconds in timed.seconds.values()] == [2, 2]
    timed_rounds({"c": lambda: order.append("c")}, rounds=1, is_warm=True)
    assert order.count("c") == 1


def test_a_run_takes_the_seconds_it_takes():
    timed = timed_rounds({"sleep": lambda: time.sleep(0.02)}, rounds=1)
    assert timed.median("sleep") >= 0.02


def test_a_ratio_is_taken_round_by_round():
    # A machine that is ten times slower in the last two rounds: the ratio of medians would be 20.
    timed = Rounds({"slow": [2.0, 20.0, 20.0], "quick": [1.0, 1.0, 10.0]})
    assert timed.ratio("slow", "quick") == 2.0


@pytest.mark.parametrize("kind", ["equal", "ragged"])
def test_the_loop_over_captions_is_the_same_alignment_where_no_region_is_padding(kind):
    pairs = make_pairs(SIZES, kind)
    inputs = (pairs.regions, pairs.region_is_padding, pairs.words, pairs.word_is_padding)
    ours, loop = align(*inputs), align_by_loop(*inputs)
    # Same operations in float32; only the order of the sums differs.
    close = {"atol": 1e-6, "rtol": 1e-5}
    torch.testing.assert_close(ours.region_maxima, loop.region_maxima, **close)
    torch.testing.assert_close(ours.word_maxima, loop.word_maxima, **close)


def test_batches_are_of_the_kind_that_they_are_named_after():
    sizes = replace(SIZES, pairs=200, words=15, longest=30, dim=2)
    equal, ragged, dropped = (make_pairs(sizes, kind) for kind in ("equal", "ragged", "dropped"))
    assert equal.words.shape[1] == 15
    assert not equal.word_is_padding.any()
    counts = (~ragged.word_is_padding).sum(dim=1).float()
    assert (int(counts.min()), int(counts.max())) == (5, 30)
    assert abs(float(counts.mean()) - 15) < 1
    assert not ragged.region_is_padding.any()
    assert abs(float(dropped.region_is_padding.float().mean()) - DROPPED_FRACTION) < 0.1


def test_the_product_is_that_of_the_real_rows_alone():
    pairs = make_pairs(SIZES, "dropped")
    product = make_side("product", pairs, SIZES)()
    assert product.shape == ((~pairs.region_is_padding).sum(), (~pairs.word_is_padding).sum())


def test_both_sides_make_the_same_graph():
    pairs = make_pairs(SIZES, "ragged")
    graphs = []
    for side in ("a_and_s", "loop"):
        torch.manual_seed(0)  # the weights of S
        graphs.append(make_side(side, pairs, SIZES)())
    (connection, relevance), (loop_connection, loop_relevance) = graphs
    assert torch.equal(connection.joined(), loop_connection.joined())
    torch.testing.assert_close(relevance.joined(), loop_relevance.joined())
    assert relevance.joined().requires_grad


def test_fragments_are_scored_as_the_alignment_without_transform_says():
    generator = torch.Generator().manual_seed(0)
    regions = unit_length(torch.randn(9, 4, 8, generator=generator))
    words = unit_length(torch.randn(3, 8, generator=generator))
    no_region, no_word = torch.zeros(9, 4, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.bool)
    expected = align(regions, no_region, words[None], no_word, has_transform=False)
    scores = score_fragments(regions, words)
    torch.testing.assert_close(scores, expected.text_to_image_means()[0])
    best = scores.argsort(descending=True)[:3]
    assert torch.equal(best_by_fragments(regions, words, hit_count=3), best)


def test_with_one_fragment_each_both_ways_of_searching_find_the_same():
    generator = torch.Generator().manual_seed(0)
    embeddings = unit_length(torch.randn(20, 8, generator=generator))
    query = unit_length(torch.randn(8, generator=generator))
    by_fragments = best_by_fragments(embeddings[:, None], query[None], hit_count=5)
    assert torch.equal(best_by_embedding(embeddings, query, hit_count=5), by_fragments)


@pytest.fixture
def _few_words(monkeypatch):
    # The word embeddings are nearly all of a network of one layer.
    monkeypatch.setattr(training_step, "VOCABULARY", 50)


@pytest.mark.usefixtures("_few_words")
def test_cutting_the_graph_between_encoders_and_objective_leaves_the_gradients():
    step = Step(batch_size=4, regions=3, words=4, embedding_dim=16, text_layers=1)
    step.modules.eval()  # no dropout: both runs are the same
    parameters = list(step.modules.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    step.clip_norm = float("inf")
    seconds = step.run()
    found = [parameter.grad.clone() for parameter in parameters]
    assert 0 < seconds.objective < seconds.step

    for parameter, value in zip(parameters, before, strict=True):
        parameter.data.copy_(value)
        parameter.grad = None
    images = step.image_encoder(step.regions, torch.zeros(4, 3, dtype=torch.bool))
    captions = step.text_encoder(step.token_ids, torch.zeros(4, 4, dtype=torch.bool))
    step.objective(images, captions, step.image_ids, with_instance_level=True).total.backward()
    for parameter, cut in zip(parameters, found, strict=True):
        torch.testing.assert_close(parameter.grad, cut)
    assert any(gradient.any() for gradient in found)


def test_the_relation_graph_command_times_every_kind_of_every_size(capsys):
    small = ["--regions", "4", "--words", "5", "--longest", "7", "--embedding-dim", "16"]
    command = ["--batch-sizes", "[11, 12]", *small, "--rounds", "1", "--no-memory"]
    status = run_command("benchmark", RelationGraphBenchmark, [*command, "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert {"processor", "cores", "threads", "torch"} <= set(printed["machine"])
    assert [(line["pairs"], line["kind"]) for line in printed["batches"]] == [
        (pairs, kind) for pairs in (11, 12) for kind in ("equal", "ragged", "dropped")
    ]
    ratios = [line["a_and_s_over_product"] for line in printed["batches"]]
    assert status == (0 if max(ratios) <= 2.5 else 1)
    run_command("benchmark", RelationGraphBenchmark, command)
    table = capsys.readouterr().out
    assert printed["machine"]["processor"] in table
    assert "dropped" in table


def test_every_side_of_the_relation_graph_has_a_peak():
    sizes = Sizes(pairs=64, regions=36, words=15, longest=30, dim=64)
    peaks = measure_memory(sizes, "equal")
    similarities = (64 * 36) * (64 * 15) * 4 / MIB
    # The product holds nothing but its result, and what the library needs for itself.
    assert 0.9 * similarities < peaks["product_mib"] < similarities + 16
    assert all(peak > 0 for peak in peaks.values())


def test_the_query_command_says_what_each_way_has_to_keep(capsys):
    command = ["--image-counts", "[5, 6]", "--embedding-dim", "8", "--rounds", "1"]
    assert run_command("benchmark", QueryBenchmark, [*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    for line, image_count in zip(printed["queries"], (5, 6), strict=True):
        assert line["images"] == image_count
        assert line["embedding_kept_mib"] == image_count * 8 * 4 / MIB
        assert line["fragments_kept_mib"] == image_count * 36 * 8 * 4 / MIB
    run_command("benchmark", QueryBenchmark, command)
    assert printed["machine"]["processor"] in capsys.readouterr().out


@pytest.mark.usefixtures("_few_words")
def test_the_parts_of_a_training_step_add_up(capsys):
    sizes = ["--batch-size", "4", "--regions", "3", "--words", "4", "--embedding-dim", "16"]
    command = [*sizes, "--text-layers", "1", "--steps", "1", "--json"]
    status = run_command("benchmark", TrainingStepBenchmark, command)
    printed = json.loads(capsys.readouterr().out)
    parts = ("encoders_forward_s", "objective_s", "encoders_backward_s", "optimizer_s")
    assert printed["step_s"] == pytest.approx(sum(printed[part] for part in parts))
    with_it, without = printed["objective_s"], printed["objective_without_instance_level_s"]
    assert printed["instance_level_fraction"] == pytest.approx(
        (with_it - without) / printed["step_s"]
    )
    assert status == (0 if printed["instance_level_fraction"] <= 0.2 else 1)


def test_a_build_is_held_against_the_stages_that_it_is_made_of(tmp_path):
    checkpoint = _write_checkpoint(tmp_path, 16, 32)
    timed = _timed(tmp_path, checkpoint, (90, 60), 10, 4, 0)
    stages = timed["stages_cpu_s"]
    assert list(stages) == ["read", "hash", "decode", "thumbnail", "pixels", "encode", "write"]
    assert timed["bound_s"] == pytest.approx(sum(stages.values()) / allowed_core_count())
    assert timed["wall_s"] > 0 and timed["start_s"] > 0
    built = (timed["wall_s"] - timed["start_s"]) / (timed["bound_s"] * 2 / 10)
    assert timed["wall_over_stages"] == pytest.approx(built)
    found = IndexFolder(tmp_path / "index-90").open().images
    assert (found.count, found.manifest.distinct_count) == (10, 10)


def test_changes_of_a_gallery_write_only_what_they_must(tmp_path):
    gallery = _made_up_gallery(tmp_path, 300, 64, "exact")
    changes = _Changes(gallery, tmp_path, 10)
    for change in (changes.copy_all, changes.remove, changes.update, changes.append):
        change()
    sizes = {name: record.size_bytes for name, record in gallery.manifest.files.items()}
    written, linked = changes.written_bytes, changes.linked_bytes
    vectors = sizes["index.faiss"] + sizes["embeddings.f16"]
    assert written["nothing"] == sum(sizes.values()) and linked["nothing"] == 0
    lookups = sizes["columns.sqlite"] + sizes["words.sqlite"]
    assert linked["remove"] == vectors + sizes["items.sqlite"] + lookups
    assert linked["other metadata"] == vectors + sizes["background.npy"]
    assert linked["append"] == 0
