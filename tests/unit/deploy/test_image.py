"""Dockerfile, compose file and locked versions: read by the tools that will read them."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.lock import CONSTRAINTS, CUDA, EXTRAS, locked_lines

ROOT = Path(__file__).parents[3]
PROGRAMS = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("prepare", "service", "gpu")


def program(name: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAMS / name, *arguments], cwd=ROOT, capture_output=True, text=True)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins() -> dict[str, str]:
    lines = (ROOT / CONSTRAINTS).read_text().split()
    return dict(line.split("==") for line in lines)


def needed() -> set[str]:
    """Every distribution that the extras of pyproject.toml lead to, as installed here."""
    from packaging.requirements import Requirement

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    # faiss-gpu is not beside faiss-cpu in one environment.
    texts = [*project["dependencies"], *(t for e in extras if e != "gpu" for t in extras[e])]
    waiting = [(Requirement(text), "") for text in texts]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, extra = waiting.pop()
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        for of_it in {"", *wanted.extras}:
            place = (normal(wanted.name), of_it)
            if place not in seen:
                seen.add(place)
                below = metadata.requires(wanted.name) or []
                waiting += [(Requirement(text), of_it) for text in below]
    return {name for name, _ in seen}


def test_every_package_that_is_needed_is_pinned_in_the_version_that_runs_here() -> None:
    locked = pins()
    installed = {
        name: metadata.version(name).partition("+")[0] for name in needed() if not CUDA.match(name)
    }
    assert len(installed) > 60
    assert {name: locked.get(name) for name in installed} == installed, "run make lock"


def test_a_pin_names_one_version_of_any_build() -> None:
    lines = (ROOT / CONSTRAINTS).read_text().splitlines()
    assert lines == sorted(lines)
    assert all(re.fullmatch(r"[a-z0-9-]+==[\w.]+", line) for line in lines)
    assert {"faiss-cpu", "faiss-gpu", "torch"} <= set(pins())


def test_the_lock_leaves_out_this_project_cuda_and_local_parts() -> None:
    def item(name: str, version: str, **info: Any) -> dict:
        return {"metadata": {"name": name, "version": version}, "download_info": info}

    report = {
        "install": [
            item("torch", "2.13.0+cpu"),
            item("nvidia-cublas-cu12", "12.9"),
            item("hrem-search", "0.1.0", dir_info={}),
            item("jsonschema_rs", "0.60.3"),
        ]
    }
    assert locked_lines(report) == ["jsonschema-rs==0.60.3", "torch==2.13.0"]


def test_the_lock_knows_every_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert sorted(EXTRAS.split(",")) == sorted(project["optional-dependencies"])


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    answer = program("hadolint", "Dockerfile")
    assert (answer.returncode, answer.stdout) == (0, "")


def test_an_accelerator_that_there_is_not_is_refused_in_one_sentence() -> None:
    text = (ROOT / "Dockerfile").read_text()
    (script,) = re.findall(r"^RUN (case .*?esac)", text, re.MULTILINE | re.DOTALL)
    script = script.replace("\\\n", "\n") + '; echo "$url"'

    def choose(accelerator: str, url: str = "") -> subprocess.CompletedProcess:
        chosen = {"ACCELERATOR": accelerator, "TORCH_INDEX_URL": url}
        return subprocess.run(["/bin/sh", "-c", script], env=chosen, capture_output=True, text=True)

    assert choose("cpu").stdout.strip().endswith("/whl/cpu")
    assert choose("gpu").stdout == "\n"
    assert choose("gpu", "https://torch.example.org").stdout.strip() == "https://torch.example.org"
    refused = choose("tpu")
    assert refused.returncode == 2
    assert refused.stderr == "ACCELERATOR is 'tpu'; it can be cpu or gpu\n"


def test_the_compose_file_is_one_by_the_schema_of_the_compose_specification() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    answer = program("check-jsonschema", *schema, "docker-compose.yml")
    assert answer.returncode == 0, answer.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_writes_to_volumes_only_and_is_open_to_this_machine_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")
    if name not in OURS:
        assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    if name != "prepare":
        assert service["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_from_the_project_is_there_and_is_only_read(name: str) -> None:
    for mount in SERVICES[name]["volumes"]:
        source = mount.split(":")[0]
        if source.startswith("./"):
            assert (ROOT / source).exists()
            assert mount.endswith(":ro")
        elif not source.startswith("$"):
            assert source in COMPOSE["volumes"]


def test_without_a_profile_only_the_demo_starts() -> None:
    assert {name for name, one in SERVICES.items() if "profiles" not in one} == {
        "prepare",
        "service",
    }
    for one in SERVICES.values():
        # What it waits for is started with it.
        for other in one.get("depends_on", {}):
            assert SERVICES[other].get("profiles") in (None, one.get("profiles"))


def test_prometheus_asks_the_service_under_a_name_that_it_answers_for() -> None:
    scrape = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    (target,) = scrape["scrape_configs"][0]["static_configs"][0]["targets"]
    name, port = target.split(":")
    assert SERVICES["service"]["ports"][0].endswith(f":{port}")
    assert SERVICES["gpu"]["networks"]["default"]["aliases"] == [name]
    for server in ("service", "gpu"):
        assert f":-{name}}}" in SERVICES[server]["environment"]["HREM_ALLOWED_HOSTS"]


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    provisioning = ROOT / "deploy/grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["url"] == "http://prometheus:9090"
    assert source["type"] == "prometheus"
    (provider,) = yaml.safe_load((provisioning / "dashboards/files.yml").read_text())["providers"]
    mounted = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/hrem-search.json" in mounted
