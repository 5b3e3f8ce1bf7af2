"""The sample: what is encoded again, and what is no fault of the index."""

import shutil
import sqlite3

from index_builder.build import build_index
from index_builder.verification import verify_index
from model.hrem import HREM
from tests.unit.data.layouts import captions_for, made_up_regions, write_scan
from tests.unit.index_builder.sources.layouts import write_tar
from tests.unit.index_builder.verification.tampering import refit
from tests.worlds import made_up_picture, tiny_checkpoint


def sample_of(report, kind="images"):
    (check,) = [check for check in report.checks if check.name.startswith("sample")
                and check.part == kind]  # fmt: skip
    return check


def test_a_sample_is_as_large_as_asked_and_none_is_none(built):
    for asked, told in ((5, "5 of 12 images"), (12, "12 of 12 images"), (99, "12 of 12 images")):
        report = verify_index(built("exact"), sample=asked)
        assert report.problems == []
        assert sample_of(report).looked_at == told
    names = {check.name for check in verify_index(built("exact"), sample=0).checks}
    assert not any(name.startswith("sample") for name in names)


def test_sources_that_are_gone_or_changed_are_counted_and_no_problem(world, tmp_path):
    pictures = shutil.copytree(world / "images", tmp_path / "images")
    index = tmp_path / "index"
    build_index(checkpoint=world / "checkpoint", images=pictures, output=index)
    (pictures / "picture-00.png").unlink()
    made_up_picture(40).save(pictures / "picture-01.png")
    report = verify_index(index)
    assert report.problems == []
    check = sample_of(report)
    assert check.looked_at == "10 of 12 images"
    (note,) = check.notes
    assert note.startswith("2 of 12 could not be read again: picture-0")
    assert "picture-00.png: no such file" in note and "picture-01.png: was changed" in note
    shutil.rmtree(pictures)
    report = verify_index(index)
    assert report.problems == []
    assert sample_of(report).looked_at == "0 of 12 images"
    assert sample_of(report).notes[0].startswith("12 of 12 could not be read again")
    moved = verify_index(index, images_root=world / "images")
    assert sample_of(moved).looked_at == "12 of 12 images"


def test_pictures_in_shards_are_read_from_their_place(world, tmp_path):
    for number in range(6):
        made_up_picture(number).save(tmp_path / f"{number}.png")
    members = [(f"{number}.png", (tmp_path / f"{number}.png").read_bytes()) for number in range(6)]
    (tmp_path / "shards").mkdir()
    write_tar(tmp_path / "shards" / "a.tar", members)
    index = tmp_path / "index"
    build_index(checkpoint=world / "checkpoint", images=tmp_path / "shards", output=index)
    report = verify_index(index)
    assert report.problems == []
    assert (sample_of(report).looked_at, sample_of(report).notes) == ("6 of 6 images", [])
    (folder,) = index.glob("galleries/images-*")
    connection = sqlite3.connect(folder / "thumbnails.sqlite")
    connection.execute("DELETE FROM display_copies WHERE rowid = 2")
    connection.commit()
    connection.close()
    refit(index, folder)
    (problem,) = verify_index(index).problems
    assert "the small copies of pictures are missing or wrong at rows 1;" in problem
    write_tar(tmp_path / "shards" / "a.tar", members[1:])
    report = verify_index(index)
    assert report.problems == [problem]
    assert sample_of(report).looked_at == "0 of 6 images"


def test_regions_are_not_read_again_and_that_is_said(tmp_path):
    regions = made_up_regions(6)
    folder = write_scan(tmp_path / "precomp", "test", regions, captions_for(6, 2))
    index = tmp_path / "index"
    build_index(
        checkpoint=tiny_checkpoint(tmp_path, backbone=None, region_dim=regions.shape[2]),
        images=folder / "test_ims.npy",
        captions=folder / "test_caps.txt",
        output=index,
    )
    report = verify_index(index)
    assert report.problems == []
    assert "regions cannot be read again" in sample_of(report).notes[0]
    assert sample_of(report, "captions").looked_at == "12 of 12 captions"


def test_a_gallery_is_encoded_again_in_its_own_precision(world, tmp_path, monkeypatch):
    index = tmp_path / "index"
    build_index(
        checkpoint=world / "checkpoint", images=world / "images", output=index, precision="bfloat16"
    )
    used = []
    real = HREM.encode_images

    def noting(self, pictures, **settings):
        used.append(self.precision)
        return real(self, pictures, **settings)

    monkeypatch.setattr(HREM, "encode_images", noting)
    report = verify_index(index)
    assert report.problems == [] and set(used) == {"bfloat16"}
    assert sample_of(report).looked_at == "12 of 12 images"
