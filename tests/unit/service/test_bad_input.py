"""Every row of the contract's table of errors that this release serves, one by one."""

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from index_builder.build import build_index
from service.problems import PROBLEMS
from tests.unit.service.conftest import ClientOf, MakeApp, encoded
from tests.worlds import made_up_picture, tiny_checkpoint

pytestmark = pytest.mark.anyio

PICTURE = encoded(made_up_picture(0))
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'


def huge_png(width: int, height: int) -> bytes:
    """A PNG that says it has that many pixels and holds none."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert list(problem) == ["type", "title", "status", "detail", "code", "request_id", "errors"]
    assert problem["code"] == code
    assert problem["status"] == status
    assert PROBLEMS[code] == (status, problem["title"])
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert not re.search(r"Traceback|File \"|/tmp/|/home/|site-packages", answer.text)
    return problem


def wrongs(problem: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["where"], item["code"]) for item in problem["errors"]]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"query": ""}, [("query[0]", "empty_query")]),
        ({"query": "   \t\n"}, [("query[0]", "empty_query")]),
        ({"query": ["red", " "]}, [("query[1]", "empty_query")]),
        ({"query": []}, [("query", "empty")]),
        ({}, [("query", "missing_field")]),
        ({"query": None}, [("query", "wrong_type")]),
        ({"query": 5}, [("query", "wrong_type")]),
        ({"query": ["red", 5]}, [("query[1]", "wrong_type")]),
        ({"query": {"text": "red"}}, [("query", "wrong_type")]),
        ({"query": "red", "limit": 0}, [("limit", "out_of_range")]),
        ({"query": "red", "limit": 101}, [("limit", "out_of_range")]),
        ({"query": "red", "limit": "5"}, [("limit", "wrong_type")]),
        ({"query": "red", "limit": 5.0}, [("limit", "wrong_type")]),
        ({"query": "red", "limit": True}, [("limit", "wrong_type")]),
        ({"query": "red", "limit": None}, [("limit", "wrong_type")]),
        ({"query": "red", "offset": -1}, [("offset", "out_of_range")]),
        ({"query": "red", "offset": 991}, [("offset", "out_of_range")]),
        ({"query": "red", "offset": 10**30}, [("offset", "out_of_range")]),
        ({"query": "red", "target": "videos"}, [("target", "not_a_choice")]),
        ({"query": "red", "include": ["picture"]}, [("include[0]", "not_a_choice")]),
        ({"query": "red", "version": "1"}, [("version", "wrong_type")]),
        ({"query": "red", "limits": 5}, [("limits", "unknown_field")]),
        ({"query": "red", "filter": {"year": {"gte": 2010}}}, [("filter.year", "unknown_column")]),
        ({"query": "red", "filter": {"year": 2010}}, [("filter.year", "malformed_filter")]),
        ({"query": "red", "group_by": "caption"}, [("group_by", "not_a_choice")]),
        (
            {"query": "red", "fold_duplicates_above": 1.01},
            [("fold_duplicates_above", "out_of_range")],
        ),
        ({"query": "red", "mode": "words"}, [("mode", "not_a_choice")]),
        ({"query": "red", "explain": 0}, [("explain", "wrong_type")]),
        (
            {"query": " ", "limit": 0, "explain": "yes", "colour": "red"},
            [
                ("limit", "out_of_range"),
                ("explain", "wrong_type"),
                ("query[0]", "empty_query"),
                ("colour", "unknown_field"),
            ],
        ),
    ],
)
async def test_a_wrong_request_is_refused_naming_everything_that_is_wrong(
    client: httpx.AsyncClient, body: dict, wrong: list[tuple[str, str]]
) -> None:
    problem = check_problem(await client.post("/search/text", json=body), 422, "invalid_request")
    assert wrongs(problem) == wrong


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("/search/text", {"query": "red", "limt": 5}, "limt: {}; did you mean limit?"),
        ("/search/text", {"query": "red", "colour": 5}, "colour: {}"),
        ("/search/text", {"query": "red", "limit" * 20_000: 5}, "limit" * 24 + ": {}"),
        ("/search/image", {"image": {"bas64": "a"}}, "image.bas64: {}; did you mean base64?"),
        (
            "/search",
            {"parts": [{"text": "a", "wieght": 2}]},
            "parts[0].wieght: {}; did you mean weight?",
        ),
        ("/embed/text", {"query": "red", "limt": 5}, "limt: {}"),  # it has no such field
        (
            "/search/text",
            {"text": "red"},
            "query: Field required; text: {}; did you mean query?",
        ),
        (
            "/search/text",
            {"limt": 5},
            "query: Field required; limt: {}; did you mean limit?",
        ),
    ],
)
async def test_what_an_unknown_field_was_meant_to_be_is_guessed_among_those_of_its_place(
    client: httpx.AsyncClient, path: str, body: dict, told: str
) -> None:
    problem = check_problem(await client.post(path, json=body), 422, "invalid_request")
    assert problem["detail"] == told.format("Extra inputs are not permitted")


async def test_the_defaults_of_later_fields_are_accepted(client: httpx.AsyncClient) -> None:
    body = {
        "query": "red", "filter": None, "group_by": None, "fold_duplicates_above": None,
        "mode": "vector", "explain": False, "version": None,
    }  # fmt: skip
    assert (await client.post("/search/text", json=body)).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'query': 'red'}",
        b'{"query": "red"} and more',
        b'{"query": "\xff"}',
        b'{"query": "\\ud800"}',
        b'{"query": ' + b"[" * 100_000,
        b'{"query": "red", "limit": NaN}',
    ],
    ids=["empty", "open", "quotes", "more", "latin", "surrogate", "deep", "nan"],
)
async def test_what_is_no_json_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post("/search/text", content=body, headers=headers)
    code = "invalid_request" if b"NaN" in body else "malformed_json"
    check_problem(answer, 422, code)


@pytest.mark.parametrize("body", [b"null", b"[]", b'"a red circle"', b"5"])
async def test_json_that_is_no_object_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json; charset=utf-8"}
    answer = await client.post("/search/text", content=body, headers=headers)
    problem = check_problem(answer, 422, "invalid_request")
    assert wrongs(problem) == [("body", "wrong_type")]


async def test_a_flood_of_errors_is_answered_shortly(client: httpx.AsyncClient) -> None:
    body = {"query": "red"} | {f"{number}" * 200: 1 for number in range(1_000, 3_000)}
    problem = check_problem(await client.post("/search/text", json=body), 422, "invalid_request")
    assert len(problem["errors"]) == 50
    assert len(json.dumps(problem)) < 20_000


async def test_more_than_32_queries_are_refused(client: httpx.AsyncClient) -> None:
    for count, status in ((32, 200), (33, 413)):
        answer = await client.post("/search/text", json={"query": ["red"] * count, "limit": 1})
        assert answer.status_code == status
    check_problem(answer, 413, "too_many_queries")


async def test_more_than_32_pictures_are_refused_without_reading_on(
    client: httpx.AsyncClient,
) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 1_000:
            sent += 1
            yield (
                b'--edge\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
                + PICTURE
                + b"\r\n"
            )

    headers = {"content-type": "multipart/form-data; boundary=edge"}
    answer = await client.post("/search/image", content=endless(), headers=headers)
    check_problem(answer, 413, "too_many_queries")
    assert sent < 40


@pytest.mark.parametrize("path", ["/search/text", "/search/image"])
async def test_a_body_over_10_mb_is_refused_without_reading_on(
    client: httpx.AsyncClient, path: str
) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while sent < 100_000_000:
            sent += 100_000
            yield b" " * 100_000

    headers = {"content-type": "application/json"}
    answer = await client.post(path, content=endless(), headers=headers)
    check_problem(answer, 413, "body_too_large")
    assert answer.headers["connection"] == "close"
    assert 10_000_000 < sent <= 10_200_000
    declared = {**headers, "content-length": "10000001"}
    answer = await client.post(path, content=b"", headers=declared)
    check_problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"just some text",
        SVG,
        PICTURE[: len(PICTURE) // 2],
        PICTURE[:30],
        b"%PDF-1.7\n",
        b"GIF89a",
        encoded(made_up_picture(0), "JPEG")[:200],
        encoded(made_up_picture(0), "PPM"),
        encoded(made_up_picture(0), "ICO"),
    ],
    ids=["empty", "text", "svg", "half", "head", "pdf", "gif", "jpeg", "ppm", "ico"],
)
async def test_what_is_no_whole_picture_is_refused_and_named(
    client: httpx.AsyncClient, content: bytes
) -> None:
    files = [("file", ("a.png", PICTURE)), ("file", ("b.png", content))]
    answer = await client.post("/search/image", files=files)
    problem = check_problem(answer, 400, "unreadable_image")
    assert wrongs(problem) == [("file[1]", "unreadable_image")]


async def test_a_damaged_picture_in_base64_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search/image", json={"image": {"base64": "R0lGODlhAQ=="}})
    problem = check_problem(answer, 400, "unreadable_image")
    assert wrongs(problem) == [("image.base64", "unreadable_image")]


async def test_too_many_pixels_are_seen_before_decoding(client: httpx.AsyncClient) -> None:
    for width, height in ((5_001, 5_000), (60_000, 60_000)):
        files = [("file", ("a.png", huge_png(width, height)))]
        answer = await client.post("/search/image", files=files)
        problem = check_problem(answer, 413, "too_many_pixels")
        assert wrongs(problem) == [("file[0]", "too_many_pixels")]
        assert problem["detail"].endswith("; send a smaller picture")


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, [("image", "missing_field")]),
        ({"image": {}}, [("image", "one_image_source")]),
        ({"image": {"id": "a", "base64": "AAAA"}}, [("image", "one_image_source")]),
        ({"image": {"base64": "not base64!"}}, [("image.base64", "invalid_base64")]),
        ({"image": {"base64": 5}}, [("image.base64", "wrong_type")]),
        ({"image": {"id": "a", "url": "https://a.example/"}}, [("image", "one_image_source")]),
        ({"image": {"url": 5}}, [("image.url", "wrong_type")]),
        ({"image": {"path": "/etc/passwd"}}, [("image.path", "unknown_field")]),
        ({"image": {"id": "a"}, "limit": 0}, [("limit", "out_of_range")]),
        ({"image": {"id": "a"}, "query": "red"}, [("query", "unknown_field")]),
    ],
)
async def test_a_wrong_image_query_is_refused(
    client: httpx.AsyncClient, body: dict, wrong: list[tuple[str, str]]
) -> None:
    problem = check_problem(await client.post("/search/image", json=body), 422, "invalid_request")
    assert wrongs(problem) == wrong


@pytest.mark.parametrize(
    ("params", "wrong"),
    [
        ('{"limit": 0}', ("params.limit", "out_of_range")),
        ('{"explain": 1}', ("params.explain", "wrong_type")),
        ('{"image": {"id": "a"}}', ("params.image", "unknown_field")),
        ("[]", ("params", "wrong_type")),
    ],
)
async def test_wrong_params_of_an_upload_are_refused(
    client: httpx.AsyncClient, params: str, wrong: tuple[str, str]
) -> None:
    answer = await client.post(
        "/search/image", files={"file": ("a.png", PICTURE)}, data={"params": params}
    )
    assert wrongs(check_problem(answer, 422, "invalid_request")) == [wrong]


async def test_params_that_are_no_json_are_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/search/image", files={"file": ("a.png", PICTURE)}, data={"params": "limit=5"}
    )
    check_problem(answer, 422, "malformed_json")


@pytest.mark.parametrize(
    ("names", "wrong"),
    [
        (["image"], ("image", "unknown_field")),
        (["file", "params", "params"], ("params", "unknown_field")),
        (["params"], ("file", "missing_field")),
        ([""], ("part", "unknown_field")),
    ],
)
async def test_parts_that_do_not_belong_are_refused(
    client: httpx.AsyncClient, names: list[str], wrong: tuple[str, str]
) -> None:
    body = b"".join(
        b'--edge\r\ncontent-disposition: form-data; name="%b"\r\n\r\n{}\r\n' % name.encode()
        for name in names
    )
    headers = {"content-type": "multipart/form-data; boundary=edge"}
    answer = await client.post("/search/image", content=body + b"--edge--\r\n", headers=headers)
    assert wrongs(check_problem(answer, 422, "invalid_request")) == [wrong]


@pytest.mark.parametrize(
    ("boundary", "body"),
    [
        ("; boundary=edge", b"no part at all"),
        ("; boundary=edge", b'--edge\r\ncontent-disposition: form-data; name="file"\r\n\r\nabc'),
        ("; boundary=edge", b""),
        ("; boundary=" + "e" * 5_000, b""),
        ("", b"--edge--"),
    ],
    ids=["text", "cut", "empty", "long", "missing"],
)
async def test_what_is_no_whole_multipart_is_refused(
    client: httpx.AsyncClient, boundary: str, body: bytes
) -> None:
    headers = {"content-type": f"multipart/form-data{boundary}"}
    answer = await client.post("/search/image", content=body, headers=headers)
    check_problem(answer, 422, "malformed_multipart")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/search/text", {"content-type": "text/plain"}),
        ("/search/text", {}),
        ("/search/text", {"content-type": "multipart/form-data; boundary=edge"}),
        ("/search/image", {"content-type": "image/png"}),
        ("/search/image", {"content-type": "application/octet-stream"}),
        ("/search/image", {}),
        ("/search/text", {"content-type": "application/json", "content-encoding": "gzip"}),
    ],
)
async def test_other_content_types_are_refused(
    client: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await client.post(path, content=b'{"query": "red"}', headers=headers)
    check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("version", [0, 2, -1, 10**9])
async def test_a_version_that_is_not_served_is_stale(
    client: httpx.AsyncClient, version: int
) -> None:
    body = {"query": "red", "version": version}
    check_problem(await client.post("/search/text", json=body), 409, "stale_version")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/search", 405, "method_not_allowed"),
        ("GET", "/page/nothing.js", 404, "not_found"),
        ("GET", "/page/../config.py", 404, "not_found"),
        ("GET", "/page/%2e%2e/config.py", 404, "not_found"),
        ("GET", "/page/..%2fconfig.py", 404, "not_found"),
        ("GET", "/search/text", 405, "method_not_allowed"),
        ("POST", "/info", 405, "method_not_allowed"),
        ("GET", "/images/nobody", 404, "unknown_item"),
        ("GET", "/images/nobody/thumbnail", 404, "unknown_item"),
        ("GET", "/images/..%2f..%2fetc%2fpasswd", 404, "not_found"),
        ("GET", "/items/images/nobody", 404, "unknown_item"),
        ("GET", "/items/captions/nobody", 404, "unknown_item"),
        ("GET", "/items/videos/nobody", 404, "gallery_missing"),
    ],
)
async def test_what_is_not_there_is_a_problem_too(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await client.request(method, path)
    check_problem(answer, status, code)
    if status == 405:
        assert answer.headers["allow"] == ("GET" if path == "/info" else "POST")


async def test_an_unknown_image_as_query_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.post("/search/image", json={"image": {"id": "nobody"}})
    check_problem(answer, 404, "unknown_item")


async def test_a_gallery_that_the_index_lacks_is_not_found(
    checkpoint: Path, world: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    build_index(checkpoint=checkpoint, output=tmp_path / "a", captions=world / "captions.jsonl")
    async with connect(make_app(index=tmp_path / "a")) as client:
        assert (await client.get("/health/ready")).status_code == 200
        assert (await client.get("/info")).json()["galleries"]["images"] is None
        for answer in (
            await client.post("/search/text", json={"query": "red"}),
            await client.post("/search/image", json={"image": {"id": "a"}}),
            await client.get("/items/images/a"),
            await client.get("/images/a"),
            await client.get("/images/a/thumbnail"),
        ):
            check_problem(answer, 404, "gallery_missing")
        body = {"query": "red", "target": "captions", "limit": 1}
        (hit,) = (await client.post("/search/text", json=body)).json()["results"][0]["hits"]
        assert hit["image_id"] is None
        assert hit["image"] is None


async def test_pictures_for_a_checkpoint_of_region_features_are_refused_in_words(
    world: Path, tmp_path: Path, make_app: MakeApp, connect: ClientOf
) -> None:
    regions = tiny_checkpoint(tmp_path, backbone=None)
    build_index(checkpoint=regions, output=tmp_path / "a", captions=world / "captions.jsonl")
    async with connect(make_app(index=tmp_path / "a")) as client:
        answer = await client.post("/search/image", files={"file": ("a.png", PICTURE)})
        assert "region features" in check_problem(answer, 422, "unsupported_input")["detail"]


async def test_an_unforeseen_fault_is_a_bare_500(
    make_app: MakeApp, connect: ClientOf, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    app = make_app()
    encoder = app.state.served.serving.current.encoder.encoder

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret of /home/somebody")

    async with connect(app) as client:
        with monkeypatch.context() as broken:
            broken.setattr(encoder, "encode_captions", fail)
            answer = await client.post("/search/text", json={"query": "red"})
            problem = check_problem(answer, 500, "internal_error")
            assert "secret" not in answer.text
            logged = [getattr(record, "fields", {}) for record in caplog.records]
            assert problem["request_id"] in [fields.get("request_id") for fields in logged]
            check_problem(await client.get("/health/ready"), 503, "not_ready")
        assert (await client.get("/health/ready")).status_code == 200


async def test_a_colour_image_of_many_frames_is_read_by_its_first(
    client: httpx.AsyncClient,
) -> None:
    frames = [made_up_picture(number).convert("P") for number in range(3)]
    first, animated = (
        encoded(frames[0], "GIF"),
        encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]),
    )
    scores = []
    for content in (first, animated):
        answer = await client.post("/search/image", files={"file": ("a.gif", content)})
        scores.append([hit["score"] for hit in answer.json()["results"][0]["hits"]])
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)
