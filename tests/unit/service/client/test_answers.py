"""The client and the service's document say the same; nothing heavy comes along."""

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import ValidationError

from index_builder.galleries.manifest import ColumnType
from service import answers
from service.client import AsyncSearchClient, SearchClient, calls
from service.client.search_fields import Part, SearchFields

ROOT = Path(__file__).parents[4]
DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
SCHEMAS = DOCUMENT["components"]["schemas"]
# The only routes a client has no method for: pages hold a session, not programs.
NOT_CALLED = {"/session"}


def test_every_answer_of_the_document_is_one_that_a_client_can_name():
    answered = {name for name in SCHEMAS if name.endswith("Answer")}
    assert answered == {name for name in answers.__all__ if name.endswith("Answer")}


def test_the_types_of_columns_are_those_of_the_manifest():
    assert get_args(ColumnType) == answers.COLUMN_TYPES


def test_the_keywords_of_a_search_are_the_fields_of_the_document():
    hints = get_type_hints(SearchFields)
    for schema, own in [
        ("TextSearch", "query"),
        ("ImageSearch", "image"),
        ("PartsSearch", "parts"),
    ]:
        wanted = SCHEMAS[schema]["properties"]
        assert set(hints) == set(wanted) - {own}
        for name in ("target", "group_by", "mode"):
            assert words_of(wanted[name]) == {w for w in flat(hints[name]) if isinstance(w, str)}
    assert set(Part.__dataclass_fields__) == set(SCHEMAS["SearchPart"]["properties"])


def words_of(schema: dict[str, Any]) -> set[str]:
    """The words that a field may be, wherever in its schema they stand."""
    found = {*schema.get("enum", []), *([schema["const"]] if "const" in schema else [])}
    return found.union(*(words_of(one) for one in schema.get("anyOf", [])))


def flat(hint: Any) -> set[Any]:
    inner = get_args(hint)
    return set().union(*(flat(one) for one in inner)) if inner else {hint}


def test_every_route_of_the_document_has_a_call():
    built = [
        calls.search_text("a"),
        calls.search_image(b"a"),
        calls.search([Part(text="a")]),
        calls.embed_text("a"),
        calls.embed_image(b"a"),
        calls.item("images", "{id}"),
        calls.image("{id}"),
        calls.thumbnail("{id}"),
        calls.info(),
        calls.is_live(),
        calls.is_ready(),
        calls.metrics(),
        calls.openapi(),
        calls.reload(),
    ]
    called = {(call.method.lower(), call.path.replace("%7Bid%7D", "{id}")) for call in built}
    documented = {
        (method, path.replace("{gallery}", "images"))
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        if path not in NOT_CALLED
    }
    assert called == documented


def test_both_clients_have_the_same_methods_with_the_same_parameters():
    for name in calls.__all__:
        if name == "Call":
            continue
        build = inspect.signature(getattr(calls, name)).parameters
        for kind in (SearchClient, AsyncSearchClient):
            method = getattr(kind, name)
            assert list(inspect.signature(method).parameters) == ["self", *build]
            assert method.__doc__ == getattr(calls, name).__doc__
    public = [{n for n in vars(kind) if n[0] != "_"} for kind in (SearchClient, AsyncSearchClient)]
    assert public[0] == public[1]


def test_a_later_service_may_say_more():
    index = {"version": 1, "checkpoint": "3f2a9c51d07be846", "colour": "red"}
    assert answers.IndexAnswer.model_validate(index).version == 1
    facet = {"type": "colour", "minimum": None, "maximum": None, "values": None}
    assert answers.FacetAnswer.model_validate(facet).type == "colour"


def test_answers_cannot_be_changed():
    answer = answers.IndexAnswer(version=1, checkpoint="3f2a9c51d07be846")
    with pytest.raises(ValidationError):
        answer.version = 2


def test_the_client_loads_neither_network_nor_index_nor_server():
    code = "import sys, service.client; print(*{name.split('.')[0] for name in sys.modules})"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(told.stdout.split())
    assert {"httpx", "pydantic", "service"} <= loaded
    heavy = {"torch", "faiss", "fastapi", "starlette", "transformers", "numpy", "PIL"}
    assert not loaded & {*heavy, "index_builder"}
