"""`verify`, `prune` and `rollback` as people type them."""

import json
import os
import shutil
import time

import pytest

from index_builder.build import build_index
from index_builder.commands.prune import Prune
from index_builder.commands.rollback import Rollback
from index_builder.commands.verify import Verify
from index_builder.index_folder.versions import IndexFolder
from model.command_line import run_commands
from tests.worlds import made_up_picture, tiny_checkpoint


def run(*arguments):
    commands = {"verify": Verify, "prune": Prune, "rollback": Rollback}
    return run_commands("python -m index_builder", commands, [str(part) for part in arguments])


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("care")
    (folder / "photos").mkdir()
    checkpoint = tiny_checkpoint(folder)
    for number in range(2):
        made_up_picture(number).save(folder / "photos" / f"{number}.png")
        build_index(checkpoint=checkpoint, images=folder / "photos", output=folder / "index")
    return folder / "index"


@pytest.fixture
def index(two_versions, tmp_path):
    return shutil.copytree(two_versions, tmp_path / "index")


def test_verify_shows_a_table_of_checks_and_says_that_nothing_is_wrong(index, capsys):
    assert run("verify", index) == 0
    out, err = capsys.readouterr()
    assert "images: index.faiss against embeddings.f16" in out and "2 of 2 images" in out
    assert out.splitlines()[-1] == "no problem found"
    assert "verifying  images: files" in err


def test_verify_tells_every_problem_and_exits_with_one(index, capsys):
    (index / "rejected.jsonl").write_text("{}\n")
    (index / "strange").touch()
    assert run("verify", index) == 1
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem  ")]
    assert len(told) == 2
    assert "strange is no part of an index; move it away" in told[0]
    assert "line 1 of rejected.jsonl is not what the galleries set aside" in told[1]
    assert run("verify", index, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["version"], report["problem_count"]) == (2, 2)
    assert {"part", "name", "looked_at", "problems", "notes"} == set(report["checks"][0])
    assert "rollback" in told[1] and "--to 2" in told[1]
    (index / "strange").unlink()
    assert run("rollback", index, "--to", "2") == 0
    assert run("verify", index) == 0


def test_verify_names_a_writer_that_was_killed_at_the_switch(index, capsys):
    (index / "current").write_text("1\n")
    assert run("verify", index) == 1
    assert "current says 1 but version 2 is newer" in capsys.readouterr().out
    assert run("prune", index) == 0
    assert (IndexFolder(index).versions(), run("verify", index)) == ([1], 0)


def test_verify_of_an_older_version_and_of_none(index, tmp_path, capsys):
    assert run("verify", index, "--version", "1") == 0
    assert "version 1" in capsys.readouterr().out
    assert run("verify", index, "--version", "9") == 1
    assert "has no version 9; it has [1, 2]" in capsys.readouterr().err
    assert run("verify", tmp_path / "nothing") == 1
    assert "holds no index" in capsys.readouterr().err


def test_verify_tells_that_an_older_version_has_lost_a_file(index, capsys):
    older, served = (IndexFolder(index).record(version) for version in (1, 2))
    assert older.images.folder != served.images.folder
    place = f"{older.images.folder}/items.sqlite"
    (index / place).write_bytes(b"half")
    assert run("verify", index) == 1
    told = f"problem  version 1 needs {place}, which has 4 bytes instead of"
    assert told in capsys.readouterr().out
    shutil.rmtree(index / older.images.folder)
    assert run("verify", index) == 1
    told = f"version 1 needs {older.images.folder}/manifest.json, which is missing; nobody can roll"
    assert told in capsys.readouterr().out
    assert run("prune", index, "--keep", "1") == 0
    assert run("verify", index) == 0


def test_rollback_says_what_is_served_and_what_comes_next(index, capsys):
    assert run("rollback", index) == 0
    out, err = capsys.readouterr()
    assert f"serves  {index} version 3: 1 image of version 1, instead of version 2" in out
    assert "next: a running service" in err
    assert run("rollback", index, "--to", "1") == 0
    assert f"unchanged  {index} version 3 serves what version 1 names" in capsys.readouterr().out
    assert run("rollback", index) == 1
    assert "name one of [2] with --to" in capsys.readouterr().err
    assert run("verify", index) == 0


def test_prune_says_what_it_would_remove_and_removes_it(index, capsys):
    assert run("prune", index, "--keep", "1", "--dry-run") == 0
    would = capsys.readouterr().out
    assert "would remove  versions/1.json" in would and "keeps versions 2" in would
    assert run("prune", index, "--keep", "1", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["removed_versions"], report["kept_versions"]) == ([1], [2])
    assert report["freed_bytes"] > 0 and len(report["removed"]) == 1
    assert run("prune", index, "--keep", "0") == 2
    assert run("verify", index) == 0


def test_prune_tells_of_unfinished_work_and_removes_it_when_asked(index, capsys):
    work = index / "galleries" / ".work-images-0123456789abcdef"
    work.mkdir()
    (work / "00000000.npz").write_bytes(b"x" * 1_500_000)
    two_days_ago = time.time() - 2 * 86_400
    for place in (work / "00000000.npz", work):
        os.utime(place, (two_days_ago, two_days_ago))
    assert run("prune", index) == 0
    told = capsys.readouterr().out
    assert f"kept  galleries/{work.name}: 1.5 MB" in told and "last written 2 days ago" in told
    assert "--unfinished removes it" in told and work.is_dir()
    assert run("prune", index, "--unfinished", "--json") == 0
    assert json.loads(capsys.readouterr().out)["unfinished"] == []
    assert not work.exists()
