"""Every example of docs/api.md is run against the real service, and every answer compared.

Blocks are told apart by their language, or how they begin: `curl` is run by a shell, `python -m`
must name flags that exist, ```python is executed, ```toml is a keys file, `{"and"`, `{"or"` and
`{"not"` are filters, any other `{` is an answer. A block of a new kind makes this file fail.

In the page an id of twenty hex digits stands for any indexed image, `photo.jpg` and `regions.npy`
for files of one's own. In answers `…` stands for what is left out.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from index_builder.build import build_index
from service.access.api_keys import read_key_ring
from tests.live_service import Service, start_service, stop_service
from tests.unit.data.layouts import REGION_DIM, captions_for, made_up_regions, write_scan
from tests.worlds import made_up_picture, tiny_checkpoint, write_world

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/api.md"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SOME_ID = re.compile(r"\b[0-9a-f]{20}\b")
LEFT_OUT = "…"
# In this order: how a block without a language begins, and what it is.
KINDS = {
    "curl ": "shell",
    "python -m ": "shell",
    '{"and"': "filter",
    '{"or"': "filter",
    '{"not"': "filter",
    "{": "answer",
}


@dataclass(frozen=True)
class Block:
    """An example, and where it stands."""

    line: int
    language: str
    text: str

    @property
    def kind(self) -> str:
        if self.language:
            return self.language
        for start, kind in KINDS.items():
            if self.text.startswith(start):
                return kind
        return "unknown"

    @property
    def commands(self) -> list[str]:
        """Of a shell block: each command, with the lines that a backslash joins."""
        return re.split(r"(?<!\\)\n", self.text.strip())


def blocks() -> list[Block]:
    page = PAGE.read_text(encoding="utf-8")
    return [
        Block(page.count("\n", 0, found.start()) + 2, found[1], found[2])
        for found in FENCED.finditer(page)
    ]


BLOCKS = blocks()


def of_kind(kind: str) -> Any:
    found = [block for block in BLOCKS if block.kind == kind]
    return pytest.mark.parametrize("block", found, ids=lambda block: f"line {block.line}")


@dataclass
class Desk:
    """Where a reader of the page sits: a folder with a picture, and two services."""

    folder: Path
    pictures: Service
    regions: Service
    some_id: str

    def placed(self, text: str) -> str:
        """The example with the addresses and ids of this desk."""
        service = self.regions if "regions.npy" in text else self.pictures
        own = text.replace("http://localhost:8000", service.url)
        own = own.replace("http://127.0.0.1:8000", service.url)
        own = own.replace("localhost:8000", service.url)
        return SOME_ID.sub(self.some_id, own)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CURL_HOME": str(self.folder), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120
        )


def index_of_pictures(folder: Path) -> Path:
    """Build an index whose images have the columns that the page's filters name."""
    world = write_world(folder / "world")
    rows = [
        {
            "path": path.relative_to(world / "images").as_posix(),
            "objects": ["red circle"],
            "object_count": 1 + place % 3,
            "year": 2009 + place,
            "tag": "abc"[place % 3],
        }
        for place, path in enumerate(sorted((world / "images").rglob("*.png")))
    ]
    listed = world / "images" / "images.jsonl"
    listed.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    build_index(
        checkpoint=tiny_checkpoint(folder),
        images=listed,
        captions=world / "captions.jsonl",
        output=folder / "index",
    )
    return folder / "index"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    made_up_picture(2, side=96).save(folder / "photo.jpg")
    regions = made_up_regions(6)
    np.save(folder / "regions.npy", regions[0])
    # An answer that is refused ends the command with an error and shows the problem.
    (folder / ".curlrc").write_text("fail-with-body\nshow-error\n")
    index = index_of_pictures(tmp_path_factory.mktemp("pictures"))
    other = tmp_path_factory.mktemp("regions")
    data = write_scan(other / "data", "test", regions, captions_for(6, 2))
    build_index(
        checkpoint=tiny_checkpoint(other, backbone=None, region_dim=REGION_DIM),
        output=other / "index",
        images=data / "test_ims.npy",
        captions=data / "test_caps.txt",
    )
    services = [start_service(at, at.parent / "stderr.txt") for at in (index, other / "index")]
    some_id = services[0].search_text("a red circle", limit=1)["results"][0]["hits"][0]["id"]
    yield Desk(folder, *services, some_id=some_id)
    for service in services:
        stop_service(service)


def test_every_block_is_of_a_kind_that_is_tested():
    known = {*KINDS.values(), "python", "toml"}
    strangers = [f"line {block.line}: {block.kind}" for block in BLOCKS if block.kind not in known]
    assert not strangers
    kinds = {block.kind for block in BLOCKS}
    assert known <= kinds, "a kind of example has gone from the page, or is not recognised"


def answers_of(desk: Desk, block: Block) -> list[Any]:
    """Run the commands of a block, each on its own, and return the JSON that came."""
    answers = []
    for command in block.commands:
        if not command.startswith("curl "):
            continue
        done = desk.run("bash", "-c", desk.placed(command))
        if '"url"' in command:  # pictures of other hosts: off, and there is no network here
            assert json.loads(done.stdout)["code"] == "url_not_allowed"
            continue
        assert done.returncode == 0, f"docs/api.md:{block.line}\n{done.stdout}{done.stderr}"
        if done.stdout.startswith("{"):
            answers.append(json.loads(done.stdout))
    return answers


@pytest.fixture(scope="module")
def all_answers(desk: Desk) -> list[Any]:
    return [
        answer for block in BLOCKS if block.kind == "shell" for answer in answers_of(desk, block)
    ]


@of_kind("shell")
def test_every_curl_command_is_answered(desk: Desk, block: Block):
    answers_of(desk, block)


@of_kind("answer")
def test_every_answer_has_the_shape_of_a_real_one(block: Block, all_answers: list[Any]):
    shown = read_shown(block.text)
    real = [part for answer in all_answers for part in objects_in(answer)]
    alike = [part for part in real if part.keys() == shown.keys()]
    assert alike, (
        f"docs/api.md:{block.line}: no curl command of the page is answered with the fields "
        f"{sorted(shown)}; add one, or correct the answer"
    )
    problems = [difference(shown, part, "answer") for part in alike]
    assert None in problems, f"docs/api.md:{block.line}: {problems[0]}"


@of_kind("shell")
def test_every_flag_of_a_command_of_ours_exists(block: Block):
    for command in block.commands:
        ours = re.match(r"python -m ([\w.]+)([^#]*)", command)
        if ours is None:
            continue
        package, flags = ours[1], set(re.findall(r"--[\w-]+", ours[2]))
        told = subprocess.run(
            [sys.executable, "-m", package, "--help"], cwd=ROOT, capture_output=True, text=True
        )
        assert flags <= set(re.findall(r"--[\w-]+", told.stdout))


@of_kind("filter")
def test_every_filter_is_served(desk: Desk, block: Block):
    for line in block.text.strip().splitlines():
        desk.pictures.search_text("a red circle", filter=json.loads(line))


@of_kind("toml")
def test_every_file_of_keys_is_read(block: Block, tmp_path: Path):
    text = re.sub(r'(sha256 = )"\.\.\."', rf'\1"{"0a" * 32}"', block.text)
    (tmp_path / "keys.toml").write_text(text.replace('"..."', f'"{"x" * 32}"'))
    (tmp_path / "keys.toml").chmod(0o600)
    ring = read_key_ring(tmp_path / "keys.toml")
    assert len(ring.keys) == block.text.count("[[keys]]")


def test_the_python_examples_run_from_top_to_bottom(desk: Desk):
    # Each begins on its own line of the page, so that a traceback names it.
    script = ""
    for block in BLOCKS:
        if block.kind == "python":
            script += "\n" * (block.line - script.count("\n") - 1) + desk.placed(block.text)
    (desk.folder / "api.md.py").write_text(script, encoding="utf-8")
    done = desk.run(sys.executable, "-W", "error", "api.md.py")
    assert done.returncode == 0, done.stderr


def read_shown(text: str) -> Any:
    """The JSON of an answer as the page shows it; `{…}` and `[…]` become empty."""
    text = re.sub(rf",\s*{LEFT_OUT}", "", text)
    text = re.sub(rf"(?<=[\[{{])\s*{LEFT_OUT}", "", text)
    return json.loads(text)


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """A JSON value's objects, itself included, at any depth."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from objects_in(inner)


def difference(shown: Any, real: Any, where: str) -> str | None:
    """Where a shown value cannot be of the kind of the real one; None if it can.

    Null is of any kind, and so is an object or list of which nothing is shown.
    """
    if shown is None or real is None:
        return None
    kinds = ["number" if type(one) in (int, float) else type(one).__name__ for one in (shown, real)]
    if kinds[0] != kinds[1]:
        return f"{where} is shown as {kinds[0]} and comes as {kinds[1]}"
    if isinstance(shown, dict) and shown:
        if shown.keys() != real.keys():
            return f"{where} is shown with {sorted(shown)} and comes with {sorted(real)}"
        found = (difference(shown[name], real[name], f"{where}.{name}") for name in shown)
        return next((one for one in found if one), None)
    if isinstance(shown, list) and shown and real:
        found = (difference(one, real[0], f"{where}[]") for one in shown)
        return next((one for one in found if one), None)
    return None


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ('{"a": 1}', {"a": "1"}),
        ('{"a": 1}', {"a": True}),
        ('{"a": {"b": 1}}', {"a": {"b": 1, "c": 2}}),
        ('{"a": [{"b": 1}, …]}', {"a": [{"c": 1}]}),
    ],
)
def test_a_wrong_answer_on_the_page_would_be_found(shown, real):
    assert difference(read_shown(shown), real, "answer")


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        (
            '{"a": 1, "b": null, "c": {…}, "d": [[0.5, …], …]}',
            {"a": 0.5, "b": {}, "c": {"x": 1}, "d": [[1.0]]},
        ),
        ('{"a": "…", "b": [0.1, …]}', {"a": "text", "b": []}),
    ],
)
def test_what_is_left_out_on_the_page_may_be_anything(shown, real):
    assert difference(read_shown(shown), real, "answer") is None
