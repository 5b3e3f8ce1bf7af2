import pytest

from index_builder.items import Rejection
from index_builder.listing import Listing
from index_builder.sources import CaptionEntry, ImageEntry
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
        [*IMAGES, Rejection("a", "b", "c")],
    ],
)
def test_the_hash_tells_every_difference(tmp_path, changed):
    first, again = listed(tmp_path, IMAGES), listed(tmp_path, IMAGES, "again")
    assert first.sha256 == again.sha256
    assert listed(tmp_path, changed, "changed").sha256 != first.sha256


def test_ids_that_stand_twice_are_listed_with_their_places(tmp_path):
    entries = [ImageEntry(i, f"{n}.jpg") for n, i in enumerate(["a", "b", "a", "c", "b", "a"])]
    with pytest.raises(DataError) as caught:
        listed(tmp_path, entries)
    assert "photos has 2 problems" in str(caught.value)
    assert "id 'a' stands 3 times, as items 1, 3, 6" in str(caught.value)
    assert "id 'b' stands 2 times, as items 2, 5" in str(caught.value)
    assert "'c'" not in str(caught.value)


def test_many_problems_are_counted_and_the_first_shown(tmp_path):
    entries = [ImageEntry(f"{n % 30:02d}", "x.jpg") for n in range(60)]
    with pytest.raises(DataError, match=r"(?s)30 problems.*id '09'.*and 20 more") as caught:
        listed(tmp_path, entries)
    assert "'10'" not in str(caught.value)


def test_a_source_that_names_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match="photos names nothing"):
        listed(tmp_path, [])
