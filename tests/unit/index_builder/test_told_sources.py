"""What is told of sources that are not what their owner thinks: nothing is left out in silence."""

import json
import os
from unicodedata import normalize

import pytest

from index_builder.commands.add import Add
from index_builder.commands.build import Build
from index_builder.commands.remove import Remove
from index_builder.commands.rollback import Rollback
from model.command_line import run_commands
from tests.unit.index_builder.sources.layouts import write_lines
from tests.worlds import made_up_picture

PICTURES = ("2018/0.png", "2018/1.png", "2019/0.png", "2019/1.png")


@pytest.fixture
def photos(tmp_path):
    for number, name in enumerate(PICTURES):
        place = tmp_path / "photos" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        made_up_picture(number).save(place)
    return tmp_path / "photos"


@pytest.fixture
def run(checkpoint, tmp_path, capsys):
    """Run a command on one index and return what it wrote to stdout and stderr."""
    commands = {"build": Build, "add": Add, "remove": Remove, "rollback": Rollback}
    index = tmp_path / "index"

    def run(command, *arguments, status=0):
        given = ("--checkpoint", checkpoint, "--output", index) if command == "build" else (index,)
        words = [str(part) for part in (command, *given, *arguments)]
        assert run_commands("python -m index_builder", commands, words) == status
        return capsys.readouterr()

    return run


@pytest.fixture
def table(tmp_path):
    """Write a table of pictures: path, and metadata."""

    def write(*rows, name="photos.jsonl"):
        return write_lines(tmp_path / name, [{"path": path, **more} for path, more in rows])

    return write


@pytest.fixture
def captions(tmp_path):
    def write(*rows, name="captions.jsonl"):
        return write_lines(tmp_path / name, rows)

    return write


def test_a_build_tells_what_the_version_before_had_and_the_new_one_has_not(
    run, photos, table, captions, tmp_path
):
    all_captions = captions(*({"image": name, "caption": f"picture {name}"} for name in PICTURES))
    out, _ = run("build", "--images", photos, "--captions", all_captions)
    assert "left out" not in out
    # The same pictures and texts under other ids are not left out.
    own_ids = table(*((name, {"id": f"p{n}"}) for n, name in enumerate(PICTURES)))
    turned = captions(
        *({"image": name, "caption": f"picture {name}", "id": f"c{n}"}
          for n, name in enumerate(reversed(PICTURES)))
    )  # fmt: skip
    out, _ = run("build", "--images", own_ids, "--images-root", photos, "--captions", turned)
    assert "left out" not in out
    few = table(*((name, {"year": 2018, "place": "meadow"}) for name in PICTURES[:1]))
    fewer = captions({"image": PICTURES[0], "caption": f"picture {PICTURES[0]}"})
    given = ("--images", few, "--images-root", photos, "--captions", fewer)
    out, _ = run("build", *given)
    for count, kind in ((3, "images"), (3, "captions")):
        assert (
            f"left out  {count} {kind} of version 2 that the sources do not name any more; "
            "rollback brings them back, add keeps them"
        ) in out.splitlines()
    out, _ = run("build", *given)
    assert "left out" not in out
    out, _ = run("build", "--images", photos, "--json")
    report = json.loads(out)
    assert (report["version_before"], report["images"]["left_out_count"]) == (3, 0)
    assert report["images"]["left_out_columns"] == ["year", "place"]
    assert report["captions"]["left_out_count"] == 0


def test_a_build_tells_which_columns_the_new_version_has_not(run, photos, table):
    years = table(*((name, {"year": 2018, "place": "sea"}) for name in PICTURES))
    places = table(*((name, {"place": "sea"}) for name in PICTURES), name="places.jsonl")
    assert "left out" not in run("build", "--images", years, "--images-root", photos).out
    out, _ = run("build", "--images", places, "--images-root", photos)
    assert "columns of images left out: year" in out.splitlines()
    out, _ = run("build", "--images", photos)
    assert "columns of images left out: place (a folder has none)" in out.splitlines()


def test_a_picture_that_is_set_aside_now_is_not_told_twice(run, photos):
    run("build", "--images", photos)
    (photos / PICTURES[0]).write_text("text")
    out, _ = run("build", "--images", photos)
    assert "set aside  1 image: " in out and "left out" not in out


def test_captions_that_name_no_picture_of_the_index_are_told(run, photos, captions):
    (photos / PICTURES[1]).write_text("text")
    good = [{"image": PICTURES[0], "caption": f"caption {number}"} for number in range(4)]
    set_aside = {"image": PICTURES[1], "caption": "it is damaged"}
    bad = (
        {"image": "2018/nothere.jpg", "captions": ["a", "b"]},
        {"image": f"photos/{PICTURES[2]}", "caption": "c"},
        {"images": PICTURES[3], "caption": "d"},
        {"image_id": "x1", "caption": "e"},
    )
    given = captions(*good, set_aside, *bad)
    expected = [
        "5 of 10 captions name no picture of the index: captions.jsonl:6 '2018/nothere.jpg', "
        "captions.jsonl:7 'photos/2019/0.png', captions.jsonl:8 (no `image`), "
        "captions.jsonl:9 image_id 'x1'",
        "  1 would without the first folder: write '2019/0.png' instead of 'photos/2019/0.png'; "
        "`images` names no picture: call the column `image`",
    ]
    out, _ = run("build", "--images", photos, "--captions", given)
    assert out.splitlines()[-2:] == expected
    out, _ = run("add", "--captions", given)
    assert out.splitlines()[-2:] == expected
    assert json.loads(run("add", "--captions", given, "--json").out)["unmatched_captions"] == {
        "count": 5,
        "caption_count": 10,
        "shown": [part.strip() for part in expected[0].partition(":")[2].split(",")],
        "is_cut": False,
        "hint": expected[1].strip(),
    }


@pytest.mark.parametrize("column", ["path", "Image", "Filename"])
def test_added_captions_whose_column_names_no_picture_are_told_as_by_build(
    run, photos, captions, column
):
    known = captions({"image": PICTURES[0], "caption": "a dog"})
    run("build", "--images", photos, "--captions", known)
    new = captions(
        {column: PICTURES[1], "caption": "a cat"}, {column: PICTURES[0], "caption": "a dog"},
        name="new.jsonl",
    )  # fmt: skip
    assert run("add", "--captions", new).out.splitlines()[-2:] == [
        "1 of 2 captions name no picture of the index: new.jsonl:1 (no `image`)",
        f"  `{column}` names no picture: call the column `image`",
    ]


@pytest.mark.parametrize(
    ("written", "how"),
    [
        ("photos/2018/1.png", "without the first folder"),
        (r"2018\1.png", "with / for every backslash"),
        (r"photos\2018\1.png", "with / for every backslash"),
        ("2018/1.PNG", "with .png"),
    ],
)
def test_paths_that_nearly_fit_are_told_in_captions_and_in_tables(
    run, photos, table, captions, written, how
):
    given = captions({"image": written, "caption": "a dog"})
    out, _ = run("build", "--images", photos, "--captions", given)
    told = f"  1 would {how}: write '2018/1.png' instead of '{written}'"
    assert out.splitlines()[-1] == told
    rows = ("--images", table((written, {})), "--images-root", photos)
    way = f"{how}: write '2018/1.png' instead of '{written}'"
    meant = f"{written}: no such file, but there is one {way}"
    assert f"{meant}; is --images-root right?" in run("build", *rows, status=1).err
    assert f"  {meant}" in run("add", *rows).out.splitlines()


def test_captions_written_for_a_folder_below_are_told_to_name_it(run, photos, captions):
    (photos / "2018" / "0.png").unlink()
    run("build", "--images", photos)
    in_two_folders = {"image": "1.png", "caption": "a cat"}
    out, _ = run("add", "--captions", captions({"image": "0.png", "caption": "a"}, in_two_folders))
    assert out.splitlines()[-2:] == [
        "2 of 2 captions name no picture of the index: captions.jsonl:1 '0.png', "
        "captions.jsonl:2 '1.png'",
        "  1 would with the folder in front: write '2019/0.png' instead of '0.png'",
    ]


@pytest.mark.parametrize(("on_disk", "written"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_that_differ_in_their_unicode_form_alone_are_told(
    run, photos, table, captions, on_disk, written
):
    name = "2018/über den Fluß.png"
    here = normalize(on_disk, name)
    (photos / PICTURES[1]).rename(photos / here)
    there = normalize(written, name)
    told = f"in the Unicode form {on_disk} (it looks the same): write paths in that form"
    given = captions({"image": there, "caption": "a dog"})
    out, _ = run("build", "--images", photos, "--captions", given)
    assert out.splitlines()[-1] == f"  1 would {told}"
    rows = ("--images", table((there, {}), (PICTURES[0], {})), "--images-root", photos)
    assert f"no such file, but there is one {told}" in run("add", *rows).out
    assert f"(one is there {told})" in run("remove", "--images", there, status=1).err


def test_each_reason_for_setting_aside_is_told_with_its_first(run, photos, table):
    (photos / PICTURES[1]).write_bytes(b"")
    given = table(*((name, {}) for name in (*PICTURES, "a.png", "b.png", "c.png", "d.png")))
    out, _ = run("build", "--images", given, "--images-root", photos)
    *_, first, second, third, fourth = out.splitlines()
    assert first.startswith("set aside  5 images: ")
    assert second == "  4 missing, the first is a.png: no such file"
    assert third.startswith(f"  1 unreadable, {PICTURES[1]}: ")
    assert fourth == "  more are missing than are there: is --images-root right?"


def test_captions_that_need_no_picture_are_not_told(run, photos, captions, tmp_path):
    lines = tmp_path / "captions.txt"
    lines.write_text("a dog\na cat\n")
    astray = captions({"image": "nothere.jpg", "caption": "a dog"})
    for captions_alone in (astray, lines):
        assert "name no picture" not in run("build", "--captions", captions_alone).out
    assert "name no picture" not in run("build", "--images", photos, "--captions", lines).out
    assert "name no picture" in run("build", "--captions", astray).out


def test_a_name_that_is_not_utf8_is_set_aside_and_the_build_goes_on(run, photos, tmp_path):
    made_up_picture(9).save(photos / "bear.png")
    (photos / "bear.png").rename(photos / os.fsdecode(b"b\xe4r.png"))
    out, _ = run("build", "--images", photos)
    assert "version 1: 4 images" in out and "set aside  1 image: " in out
    (rejected,) = (tmp_path / "index" / "rejected.jsonl").read_text().splitlines()
    assert json.loads(rejected)["source"] == r"b\xe4r.png"


def test_what_a_folder_holds_besides_pictures_is_counted(run, photos, tmp_path):
    for name in ("a.heic", "2018/b.HEIC", "c.nef", "notes.txt", "README", ".hidden.txt"):
        (photos / name).touch()
    (photos / "link").symlink_to(tmp_path)
    expected = [
        "passed over: 2 .heic, 1 without an ending, 1 .nef, 1 .txt, 1 links to folders",
        "  .heic .nef hold pictures but are not read: convert them to JPEG first",
    ]
    assert run("build", "--images", photos).out.splitlines()[-2:] == expected
    assert run("add", "--images", photos).out.splitlines()[-2:] == expected
    assert json.loads(run("add", "--images", photos, "--json").out)["passed_over"][".heic"] == 2
    for picture in photos.glob("*/*.png"):
        picture.unlink()
    _, err = run("build", "--images", photos, status=1)
    assert "holds no picture (passed over: 2 .heic," in err


def test_an_addition_tells_which_pictures_have_no_file_any_more(run, photos, table):
    two = (
        f"2 pictures of the index have no file any more: {PICTURES[0]}, {PICTURES[3]}; build takes "
        "them out, and so does remove"
    )
    one = "1 picture of the index has no file any more: {}; build takes it out, and so does remove"
    run("build", "--images", photos)
    assert "no file any more" not in run("add", "--images", photos).out
    (photos / PICTURES[0]).unlink()
    (photos / PICTURES[3]).rename(photos / "2019/new.png")
    assert two in run("add", "--images", photos).out.splitlines()
    out, _ = run("add", "--images", photos / "2019")
    assert one.format(PICTURES[3]) in out.splitlines()
    few = table((PICTURES[0], {}), (PICTURES[1], {}))
    given = ("--images", few, "--images-root", photos)
    assert one.format(PICTURES[0]) in run("add", *given).out.splitlines()
    told = json.loads(run("add", "--images", photos, "--json").out)
    assert (told["gone_file_count"], told["gone_files"]) == (2, [PICTURES[0], PICTURES[3]])


def test_pictures_are_removed_by_path_where_it_is_no_id(run, photos, table, captions):
    twice = ((PICTURES[0], {"id": "a"}), (PICTURES[0], {"id": "b"}))
    rows = table(*twice, (PICTURES[1], {"id": "c"}), (PICTURES[2], {}), (PICTURES[3], {}))
    named = captions(*({"image_id": each, "caption": each} for each in "abc"))
    run("build", "--images", rows, "--images-root", photos, "--captions", named)
    _, err = run("remove", "--images", f"c,photos/{PICTURES[2]}", status=1)
    way = f"without the first folder: write {PICTURES[2]!r} instead of"
    assert f"nothing was removed; correct the ids and paths (one is there {way}" in err
    _, err = run("remove", "--images", "nowhere.png", status=1)
    assert f"(paths are relative to {photos}), or give --ignore-missing" in err
    out, _ = run("remove", "--images", f"./{PICTURES[0]}", "--with-captions")
    assert "images  2 removed; 3 in all" in out and "captions  2 removed; 1 in all" in out


def test_captions_that_stay_without_their_picture_are_told(run, photos, captions):
    pairs = ((PICTURES[0], "a dog"), (PICTURES[0], "a pup"), (PICTURES[1], "a cat"))
    named = captions(*({"image": image, "caption": text} for image, text in pairs))
    run("build", "--images", photos, "--captions", named)
    out, _ = run("remove", "--images", PICTURES[0])
    assert out.splitlines()[-1] == (
        "2 captions name what was removed and stay; to remove them too, roll back and remove "
        "with --with-captions"
    )
    run("rollback")
    assert "what was removed" not in run("remove", "--images", PICTURES[0], "--with-captions").out


def test_a_path_with_commas_is_one_name(run, photos):
    names = ("a, b, 1.png", "sea,sun.png")
    for number, name in enumerate(names):
        made_up_picture(20 + number).save(photos / name)
    run("build", "--images", photos)
    for wrong in ("a, b, 2.png", f"{PICTURES[0]},a, b, 2.png"):
        _, err = run("remove", "--images", wrong, status=1)
        assert err.splitlines()[-1].endswith("; names with commas go into --images-file")
    out, _ = run("remove", "--images", f"{PICTURES[0]},{names[0]}, {PICTURES[1]}")
    assert "images  3 removed; 3 in all" in out
    assert "images  1 removed; 2 in all" in run("remove", "--images", names[1]).out


def test_mistakes_of_both_sources_are_told_before_a_model_is_loaded(
    run, photos, table, captions, tmp_path
):
    bad_table, bad_captions = table(("../a.png", {})), captions({"text": "a dog"})
    given = ("--images", bad_table, "--captions", bad_captions)
    for command in ("build", "add"):
        _, err = run(command, *given, status=1)
        assert "`path` '../a.png' must be" in err and "expected either `caption` or" in err
        assert "checkpoint  " not in err
        run("build", "--images", photos)
    _, err = run("build", "--images", tmp_path / "no", "--captions", tmp_path / "no.txt", status=1)
    assert f"{tmp_path / 'no'} does not exist" in err and "no.txt does not exist" in err


def test_what_serves_a_new_version_is_said_in_the_same_words_everywhere(run, photos, tmp_path):
    start = f"python -m service --index {tmp_path / 'index'}"
    expected = (
        "next: a running service serves it after kill -HUP PID, or POST /admin/reload with an "
        f"admin key; else start one: {start}"
    )
    assert run("build", "--images", photos).err.splitlines()[-1] == f"next: {start}"
    made_up_picture(9).save(photos / "new.png")
    for command in (
        ("add", "--images", photos),
        ("remove", "--images", "new.png"),
        ("build", "--images", photos / "2018", "--images-root", photos),
        ("rollback",),
    ):
        assert run(*command).err.splitlines()[-1] == expected
