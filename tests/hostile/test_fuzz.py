"""Schemathesis over the OpenAPI document that the real service hands out, one request at a time.

`make fuzz` sends 10,000 requests, `make test` a tenth of them, HREM_FUZZ_COUNT any number. Half of
the requests are made to be right by the document, half to be wrong; most of the right ones know an
id or a picture of this index, so that they get past the first check. Every answer has a status,
a content type and a shape that the document names.
"""

import base64
import io
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS
from schemathesis.core.failures import FailureGroup
from schemathesis.schemas import APIOperation

from tests.hostile.conftest import Confined, confined_service
from tests.worlds import made_up_picture

REQUEST_COUNT = int(os.environ.get("HREM_FUZZ_COUNT", "1000"))
# Opening an index and a checkpoint takes a second.
FEWER = {"POST /admin/reload": 0.02}
CONFORMANCE = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
)
# What a client gets that sends nothing but honest requests, one after the other.
BUSY = {503, 504}


KEY = "a-key-that-opens-all-of-it"
KEYS = f'''
[[keys]]
name = "fuzz"
key = "{KEY}"
rate_per_minute = 1000000
burst = 1000000
admin = true
'''


@pytest.fixture(scope="module")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    folder = tmp_path_factory.mktemp("keys")
    (folder / "keys.toml").write_text(KEYS)
    (folder / "keys.toml").chmod(0o600)
    flags = ("--no-log-requests", "--keys", folder / "keys.toml")
    yield from confined_service(index, *flags, temporary=folder)


def headers_for(number: int) -> dict[str, str]:
    """The key, from an address of its own: who guesses keys for long has to wait."""
    address = f"198.51.{number // 250 % 250}.{number % 250}"
    return {"Authorization": f"Bearer {KEY}", "X-Forwarded-For": address}


class Known:
    """Ids and a picture that the service knows."""

    def __init__(self, service: Confined) -> None:
        self.ids = {}
        with httpx.Client(base_url=service.url, timeout=60, headers=headers_for(0)) as api:
            for target in ("images", "captions"):
                body = {"query": "a red circle", "target": target, "limit": 5}
                hits = api.post("/search/text", json=body).json()["results"][0]["hits"]
                self.ids[target] = [hit["id"] for hit in hits]
        content = io.BytesIO()
        made_up_picture(0).save(content, "PNG")
        self.picture = content.getvalue()

    def placed_in(self, case: Case) -> Case:
        """The same request about something that exists."""
        parameters = case.path_parameters
        if parameters and "id" in parameters:
            target = "images"
            if "gallery" in parameters:
                target = "captions" if len(str(parameters["gallery"])) % 2 else "images"
                parameters["gallery"] = target
            parameters["id"] = self.ids[target][len(str(parameters["id"])) % 5]
        if isinstance(case.body, dict):
            case.body = self._placed_in_body(case.body)
        return case

    def _placed_in_body(self, body: dict[str, Any]) -> dict[str, Any]:
        written = base64.b64encode(self.picture).decode()
        choices = [{"id": self.ids["images"][0]}, {"base64": written}]
        body = dict(body)
        if "key" in body:
            body["key"] = KEY
        if "file" in body:
            body["file"] = [self.picture]
        if "image" in body:
            body["image"] = choices[len(str(body["image"])) % 2]
        if isinstance(body.get("parts"), list):
            # Of text and image a part has exactly one, which the schema cannot say.
            body["parts"] = [
                {
                    **{
                        name: value for name, value in part.items() if name not in {"text", "image"}
                    },
                    **({"image": choices[place % 4 // 2]} if place % 2 else {"text": "red"}),
                }
                for place, part in enumerate(body["parts"])
                if isinstance(part, dict)
            ]
        return body


def right(body: dict[str, Any]) -> dict[str, Any]:
    """The same body without the fields that a right value depends on the index for."""
    return {name: value for name, value in body.items() if name not in ("version", "filter")}


def requests_of(operation: APIOperation, known: Known) -> st.SearchStrategy[Case]:
    positive = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)

    def made_plain(case: Case) -> Case:
        if isinstance(case.body, dict):
            case.body = right(case.body)
        return known.placed_in(case)

    kinds = [positive, positive.map(known.placed_in), positive.map(made_plain)]
    try:
        negative = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        negative.validate()
        kinds += [negative, negative, negative.map(known.placed_in)]
    except Exception:  # an operation without parameters can hardly be asked in a wrong way
        return st.one_of(kinds)
    return st.one_of(kinds)


def shares(names: list[str], count: int) -> dict[str, int]:
    weights = {name: FEWER.get(name, 3 if name.startswith("POST") else 1) for name in names}
    whole = sum(weights.values())
    return {name: max(5, round(count * weight / whole)) for name, weight in weights.items()}


def table(statuses: dict[str, Counter[int]]) -> str:
    lines = [f"{'operation':<34}{'requests':>9}{'of them 200':>13}  others"]
    for name, counted in statuses.items():
        good = sum(count for status, count in counted.items() if status < 400)
        others = ", ".join(f"{status}: {n}" for status, n in sorted(counted.items()) if n)
        lines.append(f"{name:<34}{counted.total():>9,}{good:>13,}  {others}")
    whole = sum(counted.total() for counted in statuses.values())
    answered = sum(c for counted in statuses.values() for s, c in counted.items() if s < 400)
    lines.append(f"{'all':<34}{whole:>9,}{answered:>13,}")
    return "\n".join(lines)


@pytest.mark.timeout(7_200)
def test_every_answer_is_one_that_the_document_names(
    service: Confined, capsys: pytest.CaptureFixture[str]
) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json")
    operations = {
        f"{found.ok().method.upper()} {found.ok().path}": found.ok()
        for found in schema.get_all_operations()
    }
    known = Known(service)
    checks = [CHECKS.get_one(name) for name in CONFORMANCE]
    statuses: dict[str, Counter[int]] = {name: Counter() for name in operations}
    wrong: dict[tuple[str, int, str], str] = {}
    session = requests.Session()
    numbers = itertools.count(1)

    def ask(name: str, case: Case) -> None:
        session.cookies.clear()
        headers = headers_for(next(numbers))
        answer = case.call(session=session, base_url=service.url, headers=headers)
        statuses[name][answer.status_code] += 1
        try:
            case.validate_response(answer, checks=checks)
        except FailureGroup as error:  # every kind once, at the end
            sort = (name, answer.status_code, type(error.exceptions[0]).__name__)
            wrong.setdefault(sort, f"{error}\n{case.as_curl_command()}"[:3_000])

    def run(name: str, count: int, round_: int) -> None:
        @seed(round_)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            verbosity=Verbosity.quiet,
        )
        @given(requests_of(operations[name], known))
        def asked(case: Case) -> None:
            ask(name, case)

        asked()

    wanted = shares(list(operations), REQUEST_COUNT)
    for name, count in wanted.items():
        # A small space of requests is exhausted soon; it is then gone through again.
        for round_ in range(1_000):
            missing = count - statuses[name].total()
            if missing <= 0:
                break
            run(name, missing, round_)
    with capsys.disabled():
        print(f"\n{table(statuses)}")  # noqa: T201
    assert not wrong, "\n\n".join(f"{sort}\n{text}" for sort, text in wrong.items())
    assert sum(counted.total() for counted in statuses.values()) >= REQUEST_COUNT
    for name, counted in statuses.items():
        assert not BUSY & set(counted), (name, counted)
        assert sum(counted[status] for status in (200, 204)) > 0, (name, counted)
    check_alive(service)


def check_alive(service: Confined) -> None:
    with httpx.Client(base_url=service.url, timeout=60, headers=headers_for(0)) as api:
        assert api.get("/health/ready").status_code == 200
        assert api.post("/search/text", json={"query": "a red circle"}).status_code == 200
