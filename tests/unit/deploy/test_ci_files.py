"""The workflows fit the forge's schemas and call what there is."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
every_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)


def workflow(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def steps_of(path: Path) -> list[dict[str, Any]]:
    return [step for job in workflow(path)["jobs"].values() for step in job["steps"]]


def scripts_of(path: Path) -> str:
    return "\n".join(step["run"] for step in steps_of(path) if "run" in step)


def check_schema(schema: str, *paths: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        schema,
        *map(str, paths),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_workflows_fit_the_schema_and_every_job_ends_in_time() -> None:
    check_schema("vendor.github-workflows", *WORKFLOWS)
    check_schema("custom.github-workflows-require-timeout", *WORKFLOWS)


def test_the_updates_fit_the_schema() -> None:
    check_schema("vendor.dependabot", ROOT / ".github" / "dependabot.yml")


@every_workflow
def test_every_make_target_that_is_called_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    for line in re.findall(r"\bmake ([a-z -]+)$", scripts_of(path), flags=re.MULTILINE):
        assert set(line.split()) <= targets


@every_workflow
def test_every_path_that_is_named_exists(path: Path) -> None:
    content = workflow(path)
    named: list[str] = []
    # YAML reads the key `on` as true.
    pull_request = content[True].get("pull_request") or {}
    named += pull_request.get("paths", [])
    for step in steps_of(path):
        named += step.get("with", {}).get("cache-dependency-path", "").split()
    named += re.findall(r"(?:^|\s)(\.ci/\S+)", scripts_of(path))
    for name in named:
        assert list(ROOT.glob(name)), name


def test_what_gates_a_change_is_the_same_script_as_here() -> None:
    assert "\n.ci/run" in scripts_of(ROOT / ".github" / "workflows" / "ci.yml")
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o100


@every_workflow
def test_a_workflow_may_only_read_and_gives_way_to_a_newer_push(path: Path) -> None:
    content = workflow(path)
    assert content["permissions"] == {"contents": "read"}
    assert content["concurrency"]["cancel-in-progress"] is True
    assert not any("permissions" in job for job in content["jobs"].values())


@every_workflow
def test_actions_are_the_forge_s_own_at_a_major_version(path: Path) -> None:
    for step in steps_of(path):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])
            if step["uses"].startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False


def test_the_oldest_python_that_is_allowed_is_tested() -> None:
    allowed = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert allowed is not None
    jobs = workflow(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    assert allowed[1] in jobs["everything"]["strategy"]["matrix"]["python"]
