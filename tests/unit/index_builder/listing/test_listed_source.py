import pytest

from index_builder.listing.listed_source import Listing
from index_builder.sources import CaptionEntry, ImageEntry, Span
from index_builder.sources.entries import Rejection
from model.errors import DataError

IMAGES = [ImageEntry(f"i{n}", f"{n}.jpg", {"year": n, "tags": ["ä"]}) for n in range(7)]
CAPTIONS = [CaptionEntry("c0", "a dog", "i0"), CaptionEntry("c1", "a cat", None, "1.jpg", {"n": 1})]


def listed(tmp_path, entries, name="listing"):
    return Listing.write(tmp_path / f"{name}.sqlite", iter(entries), "photos")


def test_entries_come_back_in_their_order_wherever_they_are_cut(tmp_path):
    listing = listed(tmp_path, IMAGES)
    assert listing.count == 7
    for cut in range(8):
        entries = listing.entries(0, cut) + listing.entries(cut, 7)
        assert [(e.place, e.id, e.path, e.metadata) for e in entries] == [
            (place, e.id, e.path, e.metadata) for place, e in enumerate(IMAGES)
        ]


def test_captions_keep_what_they_belong_to(tmp_path):
    first, second = listed(tmp_path, CAPTIONS).entries(0, 9)
    assert (first.caption, first.image_id, first.image_path) == ("a dog", "i0", None)
    assert (second.caption, second.image_id, second.image_path) == ("a cat", None, "1.jpg")
    assert second.metadata == {"n": 1}


def test_a_picture_in_a_shard_keeps_its_place_there(tmp_path):
    shard = ImageEntry("i0", "a.tar/0.jpg", {}, Span(512, 77))
    first, second = listed(tmp_path, [shard, IMAGES[1]]).entries(0, 2)
    assert (first.span, second.span) == (Span(512, 77), None)


def test_what_the_source_set_aside_is_kept_apart(tmp_path):
    aside = Rejection("x:2", "empty", "no words")
    listing = listed(tmp_path, [CAPTIONS[0], aside, CAPTIONS[1]])
    assert (listing.count, listing.rejected_count(), list(listing.rejected())) == (2, 1, [aside])


@pytest.mark.parametrize(
    "changed",
    [
        IMAGES[:-1],
        [*IMAGES[1:], IMAGES[0]],
        [*IMAGES[:-1], ImageEntry("i6", "6.png")],
        [*IMAGES[:-1], ImageEntry("i6", "6.jpg", IMAGES[6].metadata, Span(1, 2))],
        [*IMAGES, Rejection("a", "b", "c")],
    ],
)
def test_the_hash_tells_every_difference(tmp_path, changed):
    first, again = listed(tmp_path, IMAGES), listed(tmp_path, IMAGES, "again")
    assert first.sha256 == again.sha256
    assert listed(tmp_path, changed, "changed").sha256 != first.sha256


def test_many_equal_ids_are_counted_and_ten_are_shown(tmp_path):
    assert listed(tmp_path, [ImageEntry(str(n), "x.jpg") for n in range(1000)]).count == 1000
    with pytest.raises(DataError) as caught:
        listed(tmp_path, [ImageEntry(str(n % 25), "x.jpg") for n in range(1000)], "twice")
    lines = str(caught.value).splitlines()
    assert lines[0] == "photos has 25 problems; correct them:"
    assert lines[1] == "  id '0' stands 40 times, as items 1, 26, 51, 76, 101, ..."
    assert [line.split("'")[1] for line in lines[1:11]] == [str(n) for n in range(10)]
    assert lines[11:] == ["  and 15 more"]
