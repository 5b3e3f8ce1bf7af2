"""The field `filter` of every search: only what fits is found, and what is wrong is named."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from index_builder.build import build_index
from index_builder.lookups.filter_checks import FilterError
from index_builder.lookups.filters import And, Comparison, Not, Or
from service.searches.filters import read_filter
from tests.unit.service.conftest import ClientOf, MakeApp, encoded
from tests.worlds import made_up_picture

pytestmark = pytest.mark.anyio

COUNT = 12
HOSTILE = "year') OR 1=1; DROP TABLE columns; --"


def metadata_of(number: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "year": 2000 + number, "tags": ["even" if number % 2 == 0 else "odd"], "bright": number > 5,
        HOSTILE: f"x'{number}", "mixed": number if number % 2 else str(number),
    }  # fmt: skip
    if number == 3:
        del found["year"]
    return found


@pytest.fixture(scope="module")
def dated_index(world: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures of the world with metadata, and its captions."""
    folder = tmp_path_factory.mktemp("dated")
    pictures = sorted((world / "images").rglob("*.png"))
    assert len(pictures) == COUNT
    rows = [
        {"path": str(path.relative_to(world / "images")), "id": f"i{number}", **metadata_of(number)}
        for number, path in enumerate(pictures)
    ]
    (folder / "images.jsonl").write_text("\n".join(map(json.dumps, rows)))
    build_index(
        checkpoint=checkpoint,
        output=folder / "index",
        images=folder / "images.jsonl",
        images_root=world / "images",
        captions=world / "captions.jsonl",
    )
    return folder / "index"


@pytest.fixture
async def dated(dated_index: Path, make_app: MakeApp, connect: ClientOf) -> Any:
    async with connect(make_app(index=dated_index)) as client:
        yield client


async def ids_of(client: httpx.AsyncClient, **fields: Any) -> list[str]:
    answer = await client.post("/search/text", json={"query": "red", "limit": 100, **fields})
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["results"][0]["hits"]]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (None, range(12)), ({}, range(12)), ({"year": {"gte": 2010}}, [10, 11]),
        ({"year": {"gte": 2002, "lt": 2005}}, [2, 4]), ({"year": {"eq": None}}, [3]),
        ({"not": {"year": {"gte": 2002}}}, [0, 1]), ({"year": {"eq": 2001.0}}, [1]),
        ({"tags": {"in": ["even"]}, "bright": {"eq": True}}, [6, 8, 10]),
        ({"or": [{"year": {"eq": 2000}}, {"and": [{"year": {"eq": 2001}}]}]}, [0, 1]),
        ({"year": {"in": []}}, []), ({"year": {"lt": 10**300}}, [0, 1, 2, *range(4, 12)]),
        ({HOSTILE: {"eq": "x'4"}}, [4]), ({HOSTILE: {"eq": "' OR 1=1; --"}}, []),
    ],
)  # fmt: skip
async def test_hits_are_those_of_the_whole_ranking_that_fit(
    dated: httpx.AsyncClient, sent: Any, expected: Any
) -> None:
    everything = await ids_of(dated)
    fitting = {f"i{number}" for number in expected}
    assert await ids_of(dated, filter=sent) == [one for one in everything if one in fitting]


async def test_every_kind_of_search_takes_a_filter(dated: httpx.AsyncClient) -> None:
    wanted = {"filter": {"number": {"eq": 7}}, "limit": 100}
    answers = [
        await dated.post("/search/text", json={"query": "red", "target": "captions", **wanted}),
        await dated.post("/search/image", json={"image": {"id": "i2"}, **wanted}),
        await dated.post(
            "/search/image",
            files={"file": encoded(made_up_picture(3))},
            data={"params": json.dumps(wanted)},
        ),
    ]
    for answer in answers:
        hits = answer.json()["results"][0]["hits"]
        assert len(hits) == 5
        assert {hit["metadata"]["number"] for hit in hits} == {7}


async def test_pages_of_a_filtered_ranking_end_where_what_fits_ends(
    dated: httpx.AsyncClient,
) -> None:
    fields = {"query": ["red", "blue"], "filter": {"tags": {"eq": "odd"}}, "limit": 4}
    whole = (await dated.post("/search/text", json={**fields, "limit": 6})).json()["results"]
    offset: int | None = 0
    pages: list[list[dict[str, Any]]] = [[], []]
    sizes = []
    while offset is not None:
        answer = (await dated.post("/search/text", json={**fields, "offset": offset})).json()
        sizes.append(len(answer["results"][0]["hits"]))
        for page, result in zip(pages, answer["results"], strict=True):
            page += result["hits"]
            offset = result["next_offset"]
    assert sizes == [4, 2]
    assert pages == [result["hits"] for result in whole]
    assert [result["next_offset"] for result in whole] == [None, None]
    nothing = await dated.post("/search/text", json={**fields, "filter": {"tags": {"in": []}}})
    assert [(one["hits"], one["next_offset"]) for one in nothing.json()["results"]] == [
        ([], None)
    ] * 2


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"year": {"eq": 1}}
    for _ in range(depth - 1):
        inner = {"not": inner}
    return inner


LEAVES = [{"year": {"gt": number, "lt": 3000}} for number in range(33)]


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], [("filter", "malformed_filter")]),
        ("year", [("filter", "malformed_filter")]),
        ({"year": 2010}, [("filter.year", "malformed_filter")]),
        ({"year": {}}, [("filter.year", "malformed_filter")]),
        ({"and": []}, [("filter.and", "malformed_filter")]),
        ({"or": {"year": {"eq": 1}}}, [("filter.or", "malformed_filter")]),
        ({"not": []}, [("filter.not", "malformed_filter")]),
        ({"and": [{}]}, [("filter.and[0]", "malformed_filter")]),
        ({"year": {"like": 1}}, [("filter.year.like", "unknown_operator")]),
        ({"year": {"eq": {"a": 1}}}, [("filter.year.eq", "wrong_type")]),
        ({"year": {"in": [1, [2]]}}, [("filter.year.in[1]", "wrong_type")]),
        ({"year": {"in": 2010}}, [("filter.year.in", "wrong_type")]),
        ({"year": {"eq": [2010]}}, [("filter.year.eq", "wrong_type")]),
        ({"year": {"eq": True}}, [("filter.year.eq", "wrong_type")]),
        ({"bright": {"eq": 1}}, [("filter.bright.eq", "wrong_type")]),
        ({"mixed": {"eq": "2"}}, [("filter.mixed", "wrong_type")]),
        ({"year": {"in": [1] * 1001}}, [("filter.year.in", "too_many_values")]),
        ({"number": {"eq": 1}}, [("filter.number", "unknown_column")]),
        ({"rowid": {"eq": 1}}, [("filter.rowid", "unknown_column")]),
        ({"x'; --": {"eq": 1}}, [("filter.x'; --", "unknown_column")]),
        (nested(9), [("filter" + ".not" * 8, "too_deep")]),
        ({"and": LEAVES}, [("filter", "too_many_leaves")]),
        (
            {"or": [{"yaer": {"eq": 1}}, {"and": [{"year": {"lt": "x"}}]}], "tags": {"gt": "a"}},
            [
                ("filter.or[0].yaer", "unknown_column"),
                ("filter.or[1].and[0].year.lt", "wrong_type"),
                ("filter.tags.gt", "wrong_type"),
            ],
        ),
    ],
)  # fmt: skip
async def test_every_problem_of_a_filter_is_named_with_its_place(
    dated: httpx.AsyncClient, sent: Any, expected: list[tuple[str, str]]
) -> None:
    answer = await dated.post("/search/text", json={"query": "red", "filter": sent})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid_request")
    assert [(each["where"], each["code"]) for each in body["errors"]] == expected
    assert all(each["message"] for each in body["errors"])


async def test_a_filter_as_deep_and_as_wide_as_allowed_is_answered(
    dated: httpx.AsyncClient,
) -> None:
    assert len(await ids_of(dated, filter=nested(8))) == 11  # not, seven times
    assert len(await ids_of(dated, filter={"and": LEAVES[:32]})) == 11


async def test_problems_of_a_filter_are_told_with_those_of_other_fields(
    dated: httpx.AsyncClient,
) -> None:
    sent = {"query": "red", "limit": 0, "filter": {"year": {"is": 1}, "tags": 5}}
    body = (await dated.post("/search/text", json=sent)).json()
    assert {(each["where"], each["code"]) for each in body["errors"]} == {
        ("limit", "out_of_range"),
        ("filter.year.is", "unknown_operator"),
        ("filter.tags", "malformed_filter"),
    }
    for operator, where in (("is", "params.filter.year.is"), ("eq", "params.filter.year")):
        params = json.dumps({"filter": {"year": {operator: 1}}})
        answer = await dated.post(
            "/search/image", files={"file": encoded(made_up_picture(1))}, data={"params": params}
        )
        assert [each["where"] for each in answer.json()["errors"]] == [where]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "9" * 4000, '"\\ud800"', "1" * 5000])
async def test_values_that_are_no_values_are_refused(dated: httpx.AsyncClient, text: str) -> None:
    content = f'{{"query": "red", "filter": {{"year": {{"eq": {text}}}}}}}'
    headers = {"Content-Type": "application/json"}
    answer = await dated.post("/search/text", content=content, headers=headers)
    assert answer.status_code == 422
    assert answer.json()["code"] in ("invalid_request", "malformed_json")


async def test_info_tells_what_a_filter_can_ask(dated: httpx.AsyncClient) -> None:
    images = (await dated.get("/info")).json()["galleries"]["images"]
    assert images["columns"] == ["year", "tags", "bright", HOSTILE, "mixed"]
    facets = images["facets"]
    assert facets.pop(HOSTILE)["values"] == sorted(f"x'{number}" for number in range(COUNT))
    nothing = {"minimum": None, "maximum": None, "values": None}
    assert facets == {
        "year": {**nothing, "type": "integer", "minimum": 2000, "maximum": 2011},
        "tags": {**nothing, "type": "text_list", "values": ["even", "odd"]},
        "bright": {**nothing, "type": "boolean", "values": [False, True]},
        "mixed": {**nothing, "type": "json"},
    }


def test_a_filter_is_read_as_it_is_written() -> None:
    sent = {
        "a": {"gte": 1, "lt": 5},
        "or": [{"not": {"b": {"in": ["x", "y"]}}}, {"c": {"eq": None}}],
    }
    assert read_filter(sent) == And(
        (
            Comparison("a", "gte", 1),
            Comparison("a", "lt", 5),
            Or((Not(Comparison("b", "in", ("x", "y"))), Comparison("c", "eq", None))),
        )
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["and", "or", "not", "eq", "in", "lt", "year"]) | st.text(),
            inner,
            max_size=4,
        )
    ),
    max_leaves=40,
)


@given(anything)
def test_whatever_is_sent_is_a_filter_or_is_refused_with_reasons(sent: Any) -> None:
    try:
        read_filter(sent)
    except FilterError as error:
        assert error.problems
        for problem in error.problems:
            assert isinstance(problem.where, str)
            assert problem.message
