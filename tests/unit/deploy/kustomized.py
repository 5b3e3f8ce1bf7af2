"""What `kustomize` makes of the folders in deploy/kubernetes, where it or kubectl is installed."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

__all__ = ["KUBERNETES", "containers_of", "environment_of", "named", "of_kind", "pods", "rendered"]

KUBERNETES = Path(__file__).parents[3] / "deploy" / "kubernetes"
Manifest = dict[str, Any]


@functools.cache
def rendered(folder: Path) -> list[Manifest]:
    """Return the manifests of a kustomization; skips the test where nothing can render it."""
    if shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    elif shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    else:
        pytest.skip("neither kustomize nor kubectl is installed, so nothing renders the overlays")
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def named(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    """Return the manifests of one kind by name."""
    return {manifest["metadata"]["name"]: manifest for manifest in of_kind(manifests, kind)}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield name and pod template of everything that makes pods."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        spec = spec["jobTemplate"]["spec"] if manifest["kind"] == "CronJob" else spec
        if "template" in spec:
            yield manifest["metadata"]["name"], spec["template"]


def containers_of(pod: Manifest) -> list[Manifest]:
    """Return all containers of a pod template, those that run first included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment_of(container: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """Return the variables that a container gets, with an address for what its node fills in."""
    variables: dict[str, str] = {}
    for source in container.get("envFrom", []):
        variables |= named(manifests, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    for variable in container.get("env", []):
        value = variable.get("value", "10.0.0.7")
        for name, known in variables.items():
            value = value.replace(f"$({name})", known)
        variables[variable["name"]] = value
    return variables
