"""Tar shards in webdataset's layout: found, listed once, read by place."""

import gzip
import json
import os
import tarfile

import pytest

from index_builder.sources import EntryError, ImageEntry, open_caption_source, open_image_source
from index_builder.sources.picture_file import MAX_PICTURE_BYTES
from model.errors import DataError
from model.identifiers import caption_id, image_id_for_path
from tests.unit.index_builder.sources.layouts import listed, write_tar


def paths_of(place, images_root=None):
    return [entry.path for entry in listed(open_image_source(place, images_root))[0]]


def refusal_of(place):
    with pytest.raises(DataError) as caught:
        listed(open_image_source(place))
    return str(caught.value)


@pytest.fixture
def shards(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    for number in range(12):
        members = [(f"{number}-{place}.jpg", f"{number} {place}".encode()) for place in range(3)]
        write_tar(folder / f"train-{number:04d}.tar", members)
    return folder


def test_a_member_is_named_by_its_shard_and_read_by_its_place(tmp_path):
    long = "/".join(["folder" * 5] * 8) + "/" + "n" * 150
    members = [
        ("./a.jpg", b"first"),
        ("a.json", b'{"id": "one", "year": 2001, "caption": "c"}'),
        ("a.cls", b"3"),
        ("deep/er/b.PNG", b""),
        ("w\u00f6rter/\u2602.webp", b"x" * 5000),
        (f"{long}.jpg", b"long"),
    ]
    source = open_image_source(write_tar(tmp_path / "s.tar", members))
    entries, rejected = listed(source)
    expected = ["s.tar/a.jpg", "s.tar/deep/er/b.PNG", "s.tar/w\u00f6rter/\u2602.webp"]
    assert [entry.path for entry in entries] == [*expected, f"s.tar/{long}.jpg"]
    assert [entry.id for entry in entries[1:]] == [image_id_for_path(e.path) for e in entries[1:]]
    assert (entries[0].id, entries[0].metadata) == ("one", {"year": 2001})
    assert [source.read(entry) for entry in entries] == [b"first", b"", b"x" * 5000, b"long"]
    assert (rejected, source.root) == ([], tmp_path)


def test_reading_a_member_looks_at_nothing_but_its_place(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [(f"{n}.jpg", b"%d" % n * 600) for n in range(3)])
    source = open_image_source(shard)
    entries, _ = listed(source)
    with shard.open("r+b") as file:
        file.write(bytes(512))  # the header of the first member: nobody could scan from here
    assert source.read(entries[2]) == b"2" * 600
    with pytest.raises(EntryError) as caught:
        source.read(entries[0])
    assert (caught.value.rejection.code, caught.value.rejection.place) == ("changed", "s.tar/0.jpg")


def test_a_shard_that_changed_is_gone_or_holds_too_much_is_told_by_its_code(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("0.jpg", b"x" * 600)])
    source = open_image_source(shard)
    (entry,), _ = listed(source)

    def code(entry):
        with pytest.raises(EntryError) as caught:
            source.read(entry)
        assert caught.value.rejection.place == entry.path
        return caught.value.rejection.code

    huge = entry.span._replace(size=MAX_PICTURE_BYTES + 1)
    assert code(ImageEntry("i", "s.tar/0.jpg", {}, huge)) == "too_large"
    assert code(ImageEntry("i", "other.tar/0.jpg", {}, entry.span)) == "missing"
    write_tar(shard, [("0.jpg", b"y" * 601)])
    assert code(entry) == "changed"
    os.truncate(shard, 900)
    assert code(entry) == "changed"
    shard.unlink()
    assert code(entry) == "missing"
    (tmp_path / "out").mkdir()
    shard.symlink_to(write_tar(tmp_path.parent / "elsewhere.tar", [("0.jpg", b"x" * 600)]))
    assert code(entry) == "outside_root"


def test_file_folder_and_patterns_lead_to_the_same_entries(shards):
    expected = [f"train-{n:04d}.tar/{n}-{place}.jpg" for n in range(12) for place in range(3)]
    assert paths_of(shards) == expected
    for pattern in ("*.tar", "train-{0000..0011}.tar", "train-00[01]?.tar", "**/*.tar",
                    "train-{0011..0000}.tar", "{train,train}-00{0{0..9},1{0..1}}.tar"):  # fmt: skip
        assert paths_of(shards / pattern) == expected
    assert paths_of(shards / "train-{0002..0003}.tar") == expected[6:12]
    assert paths_of(shards / "train-{0003,0002}.tar") == expected[6:12]
    assert paths_of(shards / "train-0002.tar") == expected[6:9]
    every_name = ",".join(f"train-{number:04d}" for number in range(12))
    assert paths_of(shards / ("{" + ",".join([every_name] * 4) + "}.tar")) == expected
    one = open_image_source(shards / "train-0002.tar")
    every = open_image_source(shards)
    assert listed(one)[0] == listed(every)[0][6:9]


def test_names_are_relative_to_the_root_that_was_given(shards):
    assert paths_of(shards, shards.parent)[0] == "shards/train-0000.tar/0-0.jpg"
    assert paths_of(shards.parent / "sh*" / "*.tar")[0] == "shards/train-0000.tar/0-0.jpg"
    with pytest.raises(DataError, match="does not lie below the images' root"):
        open_image_source(shards, shards / "train-0000.tar")


def test_a_pattern_relative_to_the_working_folder_works(shards, monkeypatch):
    monkeypatch.chdir(shards)
    source = open_image_source(type(shards)("*.tar"))
    assert listed(source)[0][0].path == "train-0000.tar/0-0.jpg"
    assert source.root == shards


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("none-*.tar", "matches no .tar file; give another pattern, in quotes"),
        ("train-{0010..0013}.tar", "has 2 problems"),
        ("train-{0..999999999}.tar", "names more than 100,000 shards"),
        ("{0..999}{0..999}{0..999}.tar", "names more than 100,000 shards"),
        ("train-{x}.tar", r"braces hold {a,b} or {first..last}, found {x}"),
    ],
)
def test_a_pattern_that_means_nothing_is_one_sentence(shards, pattern, message):
    assert message in refusal_of(shards / pattern)


def test_missing_shards_of_a_range_are_all_named(shards):
    message = refusal_of(shards / "train-{0010..0013}.tar")
    assert f"there is no {shards}/train-0012.tar" in message
    assert f"there is no {shards}/train-0013.tar" in message
    assert "train-0011.tar" not in message


def test_a_tar_file_in_a_tree_of_pictures_changes_nothing(shards):
    (shards / "a.jpg").touch()
    assert paths_of(shards) == ["a.jpg"]
    (shards / "a.jpg").unlink()
    (shards / "more").mkdir()
    assert f"or name shards by a pattern such as '{shards}/*.tar'" in refusal_of(shards)


def test_names_with_dots_are_keys_of_their_own_only_where_no_member_is_named_by_the_key(tmp_path):
    shard = write_tar(
        tmp_path / "s.tar",
        [
            ("a.jpg", b"a"), ("a.mask.png", b"m"), ("a.json", b'{"n": 1}'), ("a.seg.json", b"{}"),
            ("IMG.1.jpg", b"1"), ("IMG.1.json", b'{"n": 2}'), ("IMG.2.jpg", b"2"),
            ("f.d/b.json", b'{"n": 3}'), ("f.d/b.jpg", b"b"),
        ],
    )  # fmt: skip
    entries, rejected = listed(open_image_source(shard))
    assert [(entry.path, entry.metadata) for entry in entries] == [
        ("s.tar/a.jpg", {"n": 1}), ("s.tar/IMG.1.jpg", {"n": 2}), ("s.tar/IMG.2.jpg", {}),
        ("s.tar/f.d/b.jpg", {"n": 3}),
    ]  # fmt: skip
    assert rejected == []


def test_a_long_run_of_names_with_dots_keeps_pictures_and_texts_together(tmp_path):
    members = []
    for n in range(500):
        members += [(f"IMG.{n}.jpg", b"x"), (f"IMG.{n}.json", b'{"n": %d}' % n)][: 2 - n % 2]
    entries, rejected = listed(open_image_source(write_tar(tmp_path / "s.tar", members)))
    assert [(entry.path, entry.metadata) for entry in entries] == [
        (f"s.tar/IMG.{n}.jpg", {} if n % 2 else {"n": n}) for n in range(500)
    ]
    assert rejected == []


def test_hidden_members_folders_and_others_are_passed_over_and_links_set_aside(tmp_path):
    shard = write_tar(
        tmp_path / "s.tar",
        [
            ("f.jpg", b"", tarfile.DIRTYPE), ("._a.jpg", b"x"), (".h/a.jpg", b"x"),
            ("notes.md", b"x"),
            ("b.jpg", b"b"), ("link.jpg", b"", tarfile.SYMTYPE), ("hard.jpg", b"", tarfile.LNKTYPE),
            ("pipe.png", b"", tarfile.FIFOTYPE),
        ],
    )  # fmt: skip
    entries, rejected = listed(open_image_source(shard))
    assert [entry.path for entry in entries] == ["s.tar/b.jpg"]
    assert [(r.place, r.code) for r in rejected] == [
        (f"s.tar/{name}", "unreadable") for name in ("link.jpg", "hard.jpg", "pipe.png")
    ]


def test_texts_without_a_picture_beside_them_are_set_aside(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("a.jpg", b"x"), ("b.jpg", b"x"), ("a.json", b"{}")])
    entries, rejected = listed(open_image_source(shard))
    assert [entry.path for entry in entries] == ["s.tar/a.jpg", "s.tar/b.jpg"]
    assert [(r.place, r.code) for r in rejected] == [("s.tar/a", "no_picture")]


def test_a_shard_that_leads_out_of_the_root_is_set_aside(shards, tmp_path):
    write_tar(tmp_path / "elsewhere.tar", [("a.jpg", b"x")])
    (shards / "way-out.tar").symlink_to(tmp_path / "elsewhere.tar")
    entries, rejected = listed(open_image_source(shards))
    assert len(entries) == 36
    assert [(r.place, r.code) for r in rejected] == [("way-out.tar", "outside_root")]


def test_every_member_that_cannot_be_used_is_told_with_its_shard(tmp_path):
    write_tar(
        tmp_path / "a.tar",
        [
            ("../up.jpg", b"x"), ("/etc/root.jpg", b"x"), ("in/../../up.json", b"{}"),
            ("fine.jpg", b"x"), ("bad.jpg", b"x"), ("bad.json", b"[1]"), ("id.jpg", b"x"),
            ("id.json", b'{"id": "no spaces"}'),
        ],
    )  # fmt: skip
    write_tar(tmp_path / "b.tar", [(os.fsdecode(b"\xff.jpg"), b"x"), ("t.txt", b"\xff")])
    message = refusal_of(tmp_path)
    assert "(2 shards) has 7 problems" in message
    for problem in (
        "a.tar: member '../up.jpg' leads out of the shard",
        "a.tar: member '/etc/root.jpg' leads out of the shard",
        "a.tar: member 'in/../../up.json' leads out of the shard",
        "a.tar/bad.json: expected a JSON object",
        "a.tar/id: id 'no spaces' is not allowed",
        r"b.tar: the name b'\xff.jpg' is not UTF-8",
        "b.tar/t.txt: not UTF-8 text",
    ):
        assert problem in message
    assert "fine" not in message


# Headers at 0 and 1536, the end mark at 3072: two members of 600 bytes.
@pytest.mark.parametrize("kept", [3072, 3071, 2600, 2048, 1700, 1536, 1200, 600, 512])
def test_a_shard_that_was_cut_off_is_one_clear_sentence_wherever_it_was(tmp_path, kept):
    shard = write_tar(tmp_path / "s.tar", [("0.jpg", b"x" * 600), ("1.jpg", b"y" * 600)])
    write_tar(tmp_path / "t.tar", [("0.jpg", b"x")])
    os.truncate(shard, kept)
    message = refusal_of(tmp_path)
    assert "has a problem; correct it:" in message
    assert "\n  s.tar: cut off" in message
    assert message.count("\n") == 1


def test_damaged_packed_and_other_files_are_told_as_what_they_are(tmp_path):
    whole = write_tar(tmp_path / "good.tar", [(f"{n}.jpg", b"x" * 600) for n in range(4)])
    content = bytearray(whole.read_bytes())
    content[1536:2048] = os.urandom(512)
    (tmp_path / "damaged.tar").write_bytes(content)
    (tmp_path / "packed.tar").write_bytes(gzip.compress(whole.read_bytes()))
    (tmp_path / "text.tar").write_bytes(b"no archive" * 100)
    (tmp_path / "nothing.tar").touch()
    message = refusal_of(tmp_path)
    assert "has 4 problems" in message
    assert "damaged.tar: damaged at byte 1,536" in message
    assert "packed.tar: is packed, so its members cannot be read by place; unpack" in message
    assert "unpack it with gunzip" in message
    assert "text.tar: is no tar file, or damaged" in message
    assert "nothing.tar: is empty" in message


def test_shards_without_pictures_or_captions_are_one_sentence(tmp_path):
    write_tar(tmp_path / "s.tar", [])
    assert "(1 shard) holds no picture" in refusal_of(tmp_path)
    with pytest.raises(DataError, match=r"\(1 shard\) holds no caption"):
        listed(open_caption_source(tmp_path / "s.tar"))


def test_captions_stand_beside_their_picture(tmp_path):
    def json_of(**values):
        return json.dumps(values).encode()

    members = [
        ("a.jpg", b"x"), ("a.txt", "\ufeffone\n\n  größer \n".encode()),
        ("a.json", json_of(id="ida", lang="en", caption="not this")),
        ("b.jpg", b"x"), ("b.json", json_of(caption=" three ", lang="de")),
        ("c.jpg", b"x"), ("c.json", json_of(captions=["four", " ", "five"])),
        ("d.jpg", b"x"), ("d.txt", b"\n"), ("d.json", json_of(caption="six")),
        ("e.jpg", b"x"),
        ("f.txt", b"seven"),
    ]  # fmt: skip
    write_tar(tmp_path / "s.tar", members)
    entries, rejected = listed(open_caption_source(tmp_path))
    assert [(e.text, e.image_id, e.image_path, e.metadata) for e in entries] == [
        ("one", "ida", "s.tar/a.jpg", {"lang": "en"}),
        ("größer", "ida", "s.tar/a.jpg", {"lang": "en"}),
        ("three", None, "s.tar/b.jpg", {"lang": "de"}),
        ("four", None, "s.tar/c.jpg", {}),
        ("five", None, "s.tar/c.jpg", {}),
        ("six", None, "s.tar/d.jpg", {}),
        ("seven", None, None, {}),
    ]
    assert [e.id for e in entries] == [caption_id(e.text, n) for n, e in enumerate(entries)]
    assert [(r.place, r.code) for r in rejected] == [("s.tar/e", "empty")]
    pictures, _ = listed(open_image_source(tmp_path))
    assert {e.image_path for e in entries[:6]} == {picture.path for picture in pictures[:4]}
    below = listed(open_caption_source(tmp_path, tmp_path.parent))[0]
    assert below[0].image_path == listed(open_image_source(tmp_path, tmp_path.parent))[0][0].path
    elsewhere = listed(open_caption_source(tmp_path, tmp_path / "elsewhere"))[0]
    assert elsewhere == entries


def test_a_text_in_a_shard_has_the_same_lines_as_a_file_of_captions(tmp_path):
    text = "a dog\u2028on grass\r\na\x85cat\rtwo\x0bbirds\n".encode()
    write_tar(tmp_path / "a.tar", [("1.jpg", b"x"), ("1.txt", text)])
    (tmp_path / "captions.txt").write_bytes(text)
    beside, alone = (
        [entry.text for entry in listed(open_caption_source(tmp_path / name))[0]]
        for name in ("a.tar", "captions.txt")
    )
    assert beside == alone and len(alone) == 3


def test_a_json_caption_that_is_no_text_is_told(tmp_path):
    write_tar(tmp_path / "s.tar", [("a.json", b'{"caption": 5}'), ("b.txt", b"fine")])
    with pytest.raises(DataError, match=r"s\.tar/a: `caption` must be a text"):
        listed(open_caption_source(tmp_path))


def test_texts_of_more_than_a_megabyte_are_set_aside(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("a.jpg", b"x"), ("a.json", b" " * (2 << 20))])
    entries, rejected = listed(open_image_source(shard))
    assert [entry.metadata for entry in entries] == [{}]
    assert [(r.place, r.code) for r in rejected] == [("s.tar/a.json", "too_large")]


def test_a_picture_with_two_forms_is_two_pictures(tmp_path):
    shard = write_tar(tmp_path / "s.tar", [("a.jpg", b"x"), ("a.png", b"y")])
    assert paths_of(shard) == ["s.tar/a.jpg", "s.tar/a.png"]
