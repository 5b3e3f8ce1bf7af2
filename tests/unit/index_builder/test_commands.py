"""The commands as people type them."""

import json

import pytest

from index_builder.commands.build import Build
from index_builder.commands.inspect import Inspect
from index_builder.commands.search import Search
from index_builder.index_folder.retrieval_quality import measure_retrieval
from index_builder.index_folder.versions import IndexFolder
from model.command_line import run_commands
from model.identifiers import image_id_for_path
from model.precision import is_quick
from tests.worlds import tiny_checkpoint, write_world


def run(*arguments):
    commands = {"build": Build, "inspect": Inspect, "search": Search}
    return run_commands("python -m index_builder", commands, [str(part) for part in arguments])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    checkpoint = tiny_checkpoint(folder)
    given = ("--checkpoint", checkpoint, "--output", folder / "index")
    sources = ("--images", folder / "images", "--captions", folder / "captions.jsonl")
    assert run("build", *given, *sources) == 0
    return folder


def test_a_build_says_what_will_happen_what_was_written_and_what_comes_next(
    world, tmp_path, capsys
):
    (world / "images" / "broken.jpg").write_text("text")
    sources = ("--images", world / "images", "--captions", world / "captions.jsonl")
    place = tmp_path / "index"
    assert run("build", "--checkpoint", world / "checkpoint", *sources, "--output", place) == 0
    (world / "images" / "broken.jpg").unlink()
    out, err = capsys.readouterr()
    first_lines = err.splitlines()[:5]
    assert str(place) in first_lines[0]
    assert "13 from" in first_lines[1] and "60 from" in first_lines[2]
    assert "HREM" in first_lines[3] and "cpu" in first_lines[4]
    assert "images/s" in err and "captions/s" in err
    assert f"wrote  {place} version 1: 12 images, 60 captions" in out
    assert f"set aside  1 image: {place / 'rejected.jsonl'}\n  broken.jpg: not a picture of" in out
    assert f"next: python -m service --index {place}" in err


def test_json_is_one_object_on_stdout(world, tmp_path, capsys):
    given = ("--checkpoint", world / "checkpoint", "--captions", world / "captions.jsonl")
    assert run("build", *given, "--output", tmp_path / "index", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["version"], report["images"], report["captions"]["count"]) == (1, None, 60)


def test_the_kind_of_index_is_a_matter_of_flags(world, tmp_path, capsys):
    given = ("--checkpoint", world / "checkpoint", "--captions", world / "captions.jsonl")
    asked = ("--kind", "ivf", "--memory", "1GiB", "--recall", "0.9")
    assert run("build", *given, *asked, "--output", tmp_path / "index") == 0
    assert run("inspect", tmp_path / "index", "--json") == 0
    told = json.loads(capsys.readouterr().out.partition("\n")[2])["galleries"]["captions"]["index"]
    assert (told["kind"], told["factory"], told["target_recall"]) == ("ivf", "IVF1,SQ8", 0.9)
    for wrong, message in (
        (("--memory", "lots"), "memory = 'lots'"),
        (("--recall", "1.1"), "less than or equal to 1"),
        (("--kind", "magic"), "kind = 'magic'"),
        (("--kind", "ivf", "--factory", "SQ8"), "give one of the two"),
        (("--factory", "nonsense"), "FAISS cannot make it"),
        (("--memory", "1MiB"), "give --memory"),
    ):
        assert run("build", *given, *wrong, "--output", tmp_path / "index") == 2
        assert message in capsys.readouterr().err


def test_the_precision_is_a_matter_of_flags(world, tmp_path, capsys):
    given = ("--checkpoint", world / "checkpoint", "--captions", world / "captions.jsonl")
    asked = (*given, "--device", "cpu", "--output", tmp_path / "index")
    assert run("build", *asked, "--precision", "bfloat16") == 0
    told = capsys.readouterr().err
    assert "device      cpu, bfloat16" in told
    assert ("float32 is quicker here" in told) is not is_quick("bfloat16", "cpu")
    assert run("inspect", tmp_path / "index") == 0
    assert "bfloat16" in capsys.readouterr().out
    assert run("build", *asked, "--precision", "int8") == 2
    assert "precision = 'int8'" in capsys.readouterr().err


def test_inspect_shows_the_galleries_as_a_table_and_as_json(world, capsys):
    assert run("inspect", world / "index") == 0
    shown = capsys.readouterr().out
    assert "version 1 (served)" in shown
    assert "images" in shown and "captions" in shown and "number: integer" in shown
    assert run("inspect", world / "index", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    opened = IndexFolder(world / "index").open()
    assert told["checkpoint"]["fingerprint"] == opened.checkpoint_fingerprint
    assert told["galleries"]["captions"]["count"] == 60
    assert told["galleries"]["images"] == opened.images.manifest.model_dump(mode="json")


def test_inspect_refuses_a_damaged_index_in_one_sentence(world, tmp_path, capsys):
    import shutil

    copy = shutil.copytree(world / "index", tmp_path / "index")
    (manifest,) = copy.glob("galleries/captions-*/manifest.json")
    manifest.write_text(manifest.read_text().replace('"dim": 16', '"dim": 32'))
    assert run("inspect", copy) == 1
    error = capsys.readouterr().err
    assert "index.faiss is 16-d but manifest.json says 32-d" in error
    assert error.count("\n") == 1


def test_search_answers_sentences_with_pictures_and_pictures_with_captions(world, capsys):
    assert run("search", world / "index", "a red circle", "--limit", "3", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["target"] == "images"
    assert [hit["rank"] for hit in answer["hits"]] == [1, 2, 3]
    for hit in answer["hits"]:
        assert hit["id"] == image_id_for_path(hit["path"])
    picture = world / "images" / "picture-00.png"
    assert run("search", world / "index", "--image", picture, "--limit", "2", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["target"] == "captions"
    assert all(hit["caption"] and hit["image_id"] for hit in answer["hits"])
    assert run("search", world / "index", "a red circle", "--target", "captions") == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[2].startswith("a red circle") and "1.0000" in shown


def test_search_says_when_it_read_only_the_beginning_of_a_sentence(world, capsys):
    for query, is_cut in (("a red circle", False), ("red circle " * 500, True)):
        assert run("search", world / "index", query) == 0
        assert ("only the beginning of the sentence" in capsys.readouterr().err) is is_cut


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("search", "INDEX"), 2, "give either a sentence"),
        (("search", "INDEX", "a", "--image", "b.jpg"), 2, "give either a sentence"),
        (("search", "INDEX", "   "), 2, "it has no words"),
        (("search", "INDEX", "a", "--limit", "0"), 2, "limit = '0'"),
        (("search", "INDEX", "a", "--checkpoint", "OTHER"), 1, "was built with"),
        (("search", "nowhere", "a"), 1, "holds no index"),
        (("search", "INDEX", "--image", "INDEX/current"), 1, "not a picture"),
        (("search", "CAPTIONS_ONLY", "a"), 1, "has no images; use --target captions"),
        (("build", "--checkpoint", "x", "--output", "y"), 2, "give at least one"),
        (("build", "--output", "y"), 2, "checkpoint: required"),
        (("inspect", "INDEX", "--version", "7"), 1, "has no version 7"),
    ],
)
def test_what_is_wrong_is_one_line_without_a_traceback(
    world, tmp_path, capsys, arguments, status, message
):
    captions_only = tmp_path / "captions-only"
    given = ("--checkpoint", world / "checkpoint", "--captions", world / "captions.jsonl")
    if "CAPTIONS_ONLY" in arguments:
        assert run("build", *given, "--output", captions_only) == 0
    capsys.readouterr()
    places = {"INDEX": world / "index", "CAPTIONS_ONLY": captions_only}
    if "OTHER" in arguments:
        places["OTHER"] = tiny_checkpoint(tmp_path, seed=1)
    replaced = [
        places.get(part, str(part).replace("INDEX/", f"{world}/index/")) for part in arguments
    ]
    assert run(*replaced) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1 and "Traceback" not in error


def test_a_second_writer_gets_one_sentence(world, capsys):
    given = ("--checkpoint", world / "checkpoint", "--captions", world / "captions.jsonl")
    with IndexFolder(world / "index").writing():
        assert run("build", *given, "--output", world / "index") == 1
    assert "error: another process is writing" in capsys.readouterr().err.splitlines()[-1]


def test_bare_it_prints_help_with_examples_and_only_commands_that_exist(capsys):
    assert run() == 0
    shown = capsys.readouterr().out
    for command in ("build", "inspect", "search"):
        assert f"python -m index_builder {command}" in shown
    assert "rollback" not in shown and "prune" not in shown


def test_inspect_shows_the_quality_that_the_build_measured(world, capsys):
    index = IndexFolder(world / "index")
    opened = index.open()
    assert opened.record.quality == measure_retrieval(opened.images, opened.captions)
    assert opened.record.quality.text_to_image.query_count == 60

    assert run("inspect", world / "index") == 0
    shown = capsys.readouterr().out
    for line in ("image → text, this index", "text → image, exact search", "captions, k = 10"):
        assert line in shown
    assert f"{opened.record.quality.text_to_image.exact.recall_at_10:.1f}" in shown
    most = opened.record.quality.image_hubs.hubs[0]
    assert f"{opened.images.item(most.id).path} ({most.occurrences:,})" in shown
    assert run("inspect", world / "index", "--json") == 0
    assert json.loads(capsys.readouterr().out)["quality"] == opened.record.quality.model_dump()
    opened.close()

    # What did not change is not measured again.
    given = ("--checkpoint", world / "checkpoint", "--output", world / "index")
    sources = ("--images", world / "images", "--captions", world / "captions.jsonl")
    assert run("build", *given, *sources) == 0
    assert "measuring" not in capsys.readouterr().err
    assert index.current() == 1


def test_without_pictures_there_is_no_quality_to_show(world, tmp_path, capsys):
    given = ("--checkpoint", world / "checkpoint", "--output", tmp_path / "index")
    assert run("build", *given, "--captions", world / "captions.jsonl") == 0
    assert IndexFolder(tmp_path / "index").record().quality is None
    capsys.readouterr()
    assert run("inspect", tmp_path / "index") == 0
    assert "retrieval" not in capsys.readouterr().out
