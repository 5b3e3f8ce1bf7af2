"""The clients against the real service on loopback."""

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.hrem import HREM
from service.client import (
    Base64Image,
    ImageUrl,
    IndexedImage,
    Part,
    SearchClient,
    ServiceProblem,
)
from tests.live_service import Service
from tests.worlds import made_up_picture


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture that its EXIF turns on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    made_up_picture(3).save(tmp_path / "photo.png", exif=exif)
    return tmp_path / "photo.png"


def ids(answer) -> list[str]:
    return [hit.id for hit in answer.hits]


def test_a_sentence_finds_what_the_api_finds(client, service: Service):
    answer = client.ask(service.url, "search_text", "a red circle", limit=4)
    plain = service.search_text("a red circle", limit=4)
    assert answer.model_dump(exclude={"timing_ms"}) == {
        name: value for name, value in plain.items() if name != "timing_ms"
    }
    assert answer.timing_ms.total > 0


def test_several_sentences_have_a_result_each(client, service: Service):
    answer = client.ask(service.url, "search_text", ("a red circle", "a square"), limit=2)
    assert [len(result.hits) for result in answer.results] == [2, 2]
    with pytest.raises(ValueError, match="2 queries"):
        answer.hits  # noqa: B018


def test_every_form_of_one_picture_finds_the_same(client, service: Service, photo: Path):
    with Image.open(photo) as picture:
        forms = [
            photo,
            photo.read_bytes(),
            picture,
            Base64Image(base64.b64encode(photo.read_bytes()).decode()),
            [photo],
        ]
        answers = [client.ask(service.url, "search_image", form, limit=5) for form in forms]
    scores = [[(hit.id, hit.score) for hit in answer.hits] for answer in answers]
    assert scores[1:] == scores[:1] * 4
    lying = Image.open(photo).transpose(Image.Transpose.ROTATE_180)
    turned = client.ask(service.url, "search_image", lying, limit=5)
    assert [(hit.id, hit.score) for hit in turned.hits] != scores[0]


def test_a_pillow_image_of_any_mode_is_taken(client, service: Service):
    picture = made_up_picture(1)
    wanted = ids(client.ask(service.url, "search_image", picture, limit=3))
    for mode in ("RGBA", "CMYK"):
        assert (
            ids(client.ask(service.url, "search_image", picture.convert(mode), limit=3)) == wanted
        )


def test_several_pictures_go_in_one_request(client, service: Service, photo: Path):
    content = io.BytesIO()
    made_up_picture(5).save(content, "PNG")
    answer = client.ask(service.url, "search_image", [photo, content.getvalue()], target="images")
    assert len(answer.results) == 2


def test_an_indexed_image_finds_itself(client, service: Service):
    own = client.ask(service.url, "search_text", "a red circle").hits[0].id
    answer = client.ask(service.url, "search_image", IndexedImage(own), target="images", limit=2)
    assert answer.hits[0].id == own
    assert answer.hits[0].score == pytest.approx(1, abs=1e-5)


def test_a_url_is_asked_for(client, service: Service):
    with pytest.raises(ServiceProblem) as refused:
        client.ask(service.url, "search_image", ImageUrl("https://pictures.example.org/dog.jpg"))
    assert refused.value.code == "url_not_allowed"


def test_region_features_reach_the_service(client, service: Service):
    with pytest.raises(ServiceProblem) as refused:
        client.ask(service.url, "search_image", np.zeros((4, 12), np.float32), limit=3)
    assert refused.value.code == "unsupported_input"  # this index is of pictures


def test_parts_are_one_query(client, service: Service):
    own = client.ask(service.url, "search_text", "a red circle").hits[0].id
    parts = [Part(image=IndexedImage(own)), Part(text="a star", weight=-0.01)]
    answer = client.ask(service.url, "search", parts, limit=3)
    assert answer.hits[0].id == own
    uploaded = [Part(image=made_up_picture(2), weight=2.0), Part(text="a star")]
    assert len(client.ask(service.url, "search", uploaded, limit=3).hits) == 3


def test_embeddings_are_those_of_the_network(client, service: Service, hrem: HREM):
    texts = ["a red circle", "two squares"]
    answer = client.ask(service.url, "embed_text", texts)
    np.testing.assert_allclose(answer.embeddings, hrem.encode_captions(texts), atol=1e-5)
    assert answer.dim == len(answer.embeddings[0])
    picture = made_up_picture(2)
    answer = client.ask(service.url, "embed_image", [picture_file(picture)])
    np.testing.assert_allclose(answer.embeddings, hrem.encode_images([picture]), atol=1e-5)


def picture_file(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


def test_groups_duplicates_words_and_filters_are_served(client, service: Service):
    answer = client.ask(
        service.url,
        "search_text",
        "a red circle",
        limit=3,
        group_by="image",
        fold_duplicates_above=0.99999,
        mode="hybrid",
        filter={"number": {"gte": 4}},
        include=["caption"],
        target="captions",
    )
    hit = answer.hits[0]
    assert hit.captions is not None
    assert hit.captions[0].caption
    assert hit.duplicates is not None
    assert hit.metadata is None


def test_explanations_are_typed(client, service: Service):
    hit = client.ask(service.url, "search_text", "a red circle", limit=1, explain=True).hits[0]
    assert sum(map(sum, hit.explanation.matrix)) == pytest.approx(hit.score, abs=1e-4)
    assert len(hit.explanation.matrix) == len(hit.explanation.regions)
    assert [word.text for word in hit.explanation.words if word.end > word.start]


def test_items_and_pictures_are_fetched(client, service: Service):
    hit = client.ask(service.url, "search_text", "a red circle", limit=1).hits[0]
    assert client.ask(service.url, "item", "images", hit.id).image == hit.image
    with Image.open(io.BytesIO(client.ask(service.url, "image", hit.id))) as picture:
        assert picture.size == (hit.image.width, hit.image.height)
    with Image.open(io.BytesIO(client.ask(service.url, "thumbnail", hit.id))) as picture:
        assert max(picture.size) <= 256


def test_an_id_is_no_path(client, service: Service):
    for odd in ("../info", "a/b", "a?b", "ü"):
        with pytest.raises(ServiceProblem) as refused:
            client.ask(service.url, "item", "images", odd)
        assert refused.value.status == 404


def test_the_service_tells_about_itself(client, service: Service):
    assert client.ask(service.url, "is_live") is True
    assert client.ask(service.url, "is_ready") is True
    info = client.ask(service.url, "info")
    assert info.galleries.images.count == 12
    assert "number" in info.galleries.captions.columns
    assert "hrem_" in client.ask(service.url, "metrics")
    assert client.ask(service.url, "openapi")["openapi"].startswith("3.")


def test_pages_follow_one_another_without_gap_or_overlap(client, service: Service):
    whole = client.ask(service.url, "search_text", "a red circle", limit=12)
    pages = client.pages(service.url, "a red circle", limit=5)
    assert [len(page.hits) for page in pages] == [5, 5, 2]
    assert [hit.id for page in pages for hit in page.hits] == ids(whole)
    assert [hit.rank for page in pages for hit in page.hits] == list(range(1, 13))


@pytest.mark.parametrize(("most", "sizes"), [(0, []), (3, [3]), (5, [5]), (7, [5, 2])])
def test_pages_end_with_the_hits_asked_for(client, service: Service, most, sizes):
    pages = client.pages(service.url, "a red circle", limit=5, most_hits=most)
    assert [len(page.hits) for page in pages] == sizes


def test_a_picture_has_pages_too(client, service: Service, photo: Path):
    pages = client.pages(service.url, photo, limit=25)
    assert len({hit.id for page in pages for hit in page.hits}) == 60


def test_parts_have_pages_too(client, service: Service):
    pages = client.pages(service.url, [Part(text="a red circle")], limit=9)
    assert [len(page.hits) for page in pages] == [9, 3]


def test_a_refused_request_says_what_is_wrong_and_where(client, service: Service):
    with pytest.raises(ServiceProblem) as refused:
        client.ask(service.url, "search_text", ["a dog", " "], limit=1_000)
    assert refused.value.code == "invalid_request"
    assert {error.where for error in refused.value.errors} == {"query[1]", "limit"}
    deadline = time.monotonic() + 20
    while str(refused.value.request_id) not in service.log.read_text():
        assert time.monotonic() < deadline  # a request is logged just after it was answered
        time.sleep(0.02)


def test_a_misspelt_field_is_found_before_anything_is_sent(client):
    with pytest.raises(TypeError, match="'limits'"):
        client.ask("http://127.0.0.1:9", "search_text", "a dog", limits=3)


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ("photo.jpg", r"Path\("),
        (17, "no picture"),
        ([IndexedImage("a")], "comes alone"),
        ([np.zeros((2, 3))], "comes alone"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_to_write(client, picture, said):
    with pytest.raises(TypeError, match=said):
        client.ask("http://127.0.0.1:9", "search_image", picture)


@pytest.mark.parametrize("parts", ["a dog", [{"text": "a dog"}], ["a dog"]])
def test_what_is_no_part_is_refused_with_what_to_write(client, parts):
    with pytest.raises(TypeError, match=r"a part is Part\(text="):
        client.ask("http://127.0.0.1:9", "search", parts)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://a.example", "http://", ""])
def test_what_is_no_address_is_refused(client, url):
    with pytest.raises(ValueError, match="http://HOST:PORT"):
        client.ask(url, "info")


def test_threads_may_share_a_client(service: Service):
    with SearchClient(service.url) as client, ThreadPoolExecutor(4) as threads:
        texts = ["a red circle", "a blue square", "a star", "a picture"] * 3
        found = list(threads.map(lambda text: ids(client.search_text(text, limit=3)), texts))
        assert found == [ids(client.search_text(text, limit=3)) for text in texts]
