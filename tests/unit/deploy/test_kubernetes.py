"""The manifests fit the API's schemas, each other, and what the commands really take."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import Demo
from index_builder.commands.add import Add
from index_builder.commands.build import Build
from index_builder.commands.prune import Prune
from index_builder.commands.rollback import Rollback
from index_builder.commands.verify import Verify
from model.command_line import Command, load_settings
from service.app import create_app
from service.config import ServiceConfig
from tests.unit.deploy.kustomized import (
    KUBERNETES,
    containers_of,
    environment_of,
    named,
    of_kind,
    pods,
    rendered,
)
from tests.worlds import tiny_index

pytestmark = pytest.mark.anyio
OLDEST, NEWEST = "1.30", "1.37"
OVERLAYS = ("base", "example", "gpu", "local")
INDEX_COMMANDS: dict[str, type[Command]] = {
    "build": Build, "add": Add, "verify": Verify, "rollback": Rollback, "prune": Prune,
}  # fmt: skip
# Made with kubectl, as docs/kubernetes.md says, so that no key lies among the manifests.
MADE_BY_HAND = {"hrem-search-keys", "hrem-search-metrics-key"}
ADAPTER = yaml.safe_load((KUBERNETES / "prometheus-adapter.yaml").read_text())
# Beyond what running requests may take.
MARGIN_S = 5

Manifest = dict[str, Any]


@pytest.fixture(params=OVERLAYS)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return rendered(KUBERNETES / request.param)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Asks a real service on a small index."""
    index = tiny_index(tmp_path_factory.mktemp("kubernetes"))
    app = create_app(ServiceConfig(index=index, device="cpu"))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as asking:
        yield asking
    app.state.served.close()


def listed_files() -> Iterator[Path]:
    for kustomization in KUBERNETES.rglob("kustomization.yaml"):
        for name in yaml.safe_load(kustomization.read_text())["resources"]:
            if (path := kustomization.parent / name).is_file():
                yield path


def service_container(manifests: list[Manifest]) -> Manifest:
    (container,) = named(manifests, "Deployment")["hrem-search"]["spec"]["template"]["spec"][
        "containers"
    ]
    return container


# What needs nothing but the files.


def test_every_file_is_used_by_a_kustomization_or_is_the_adapter_s() -> None:
    used = {KUBERNETES / "prometheus-adapter.yaml", *listed_files()}
    for path in KUBERNETES.rglob("kustomization.yaml"):
        used.add(path)
        content = yaml.safe_load(path.read_text())
        used |= {path.parent / one["path"] for one in content.get("patches", []) if "path" in one}
        for generator in content.get("configMapGenerator", []):
            used |= {path.parent / name for name in generator.get("envs", [])}
    assert {path for path in KUBERNETES.rglob("*") if path.is_file()} == used


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("path", sorted(set(listed_files())), ids=lambda path: path.name)
def test_every_listed_file_fits_the_api_s_schema(path: Path, version: str) -> None:
    for manifest in yaml.safe_load_all(path.read_text()):
        if manifest["apiVersion"] != "monitoring.coreos.com/v1":  # the operator's, not Kubernetes'
            kubernetes_validate.validate(manifest, version, strict=True)


def test_the_jobs_are_told_settings_that_their_commands_have() -> None:
    jobs = list(yaml.safe_load_all((KUBERNETES / "base" / "index-jobs.yaml").read_text()))
    seen = set()
    for _, pod in pods(jobs):
        (container,) = pod["spec"]["containers"]
        name, *arguments = container["args"]
        settings = load_settings(name, INDEX_COMMANDS[name], arguments)
        written_to = settings.output if isinstance(settings, Build) else settings.index  # type: ignore[attr-defined]
        assert written_to == Path("/index/photos")
        seen.add(name)
    assert seen == set(INDEX_COMMANDS)
    (pod,) = (pod for _, pod in pods([read("local/demo-job.yaml")]))
    *_, module = pod["spec"]["containers"][0]["command"][:3]
    assert module == "deploy.demo"
    demo = load_settings(module, Demo, pod["spec"]["containers"][0]["command"][3:])
    assert demo.folder == Path("/index")
    assert not demo.serve


async def test_the_autoscaler_s_metric_is_made_of_metrics_that_the_service_has(
    client: httpx.AsyncClient,
) -> None:
    families = text_string_to_metric_families((await client.get("/metrics")).text)
    known = {sample.name for family in families for sample in family.samples}
    (rule,) = ADAPTER["rules"]["custom"]
    for expression in (rule["seriesQuery"], rule["metricsQuery"]):
        used = set(re.findall(r"\bhrem_\w+", expression))
        assert used
        assert used <= known
        assert expression.count("(") == expression.count(")")
    (metric,) = read("base/autoscaler.yaml")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


def read(name: str) -> Manifest:
    content: Manifest = yaml.safe_load((KUBERNETES / name).read_text())
    return content


# What needs the overlays as they are applied.


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_what_is_applied_fits_the_api_s_schemas(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_selector_finds_the_pods_that_it_is_for(manifests: list[Manifest]) -> None:
    labels = {name: pod["metadata"]["labels"].items() for name, pod in pods(manifests)}
    for deployment in of_kind(manifests, "Deployment"):
        selector = deployment["spec"]["selector"]["matchLabels"]
        own = deployment["spec"]["template"]
        assert selector.items() <= own["metadata"]["labels"].items()
        for spread in own["spec"]["topologySpreadConstraints"]:
            assert spread["labelSelector"]["matchLabels"] == selector
    selectors = [one["spec"]["selector"] for one in of_kind(manifests, "Service")]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        selectors.append(budget["spec"]["selector"]["matchLabels"])
    for selector in selectors:
        found = {name for name, own in labels.items() if selector.items() <= own}
        assert found == {"hrem-search"}
    guarded = set()
    for policy in of_kind(manifests, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]["matchLabels"]
        guarded |= {name for name, own in labels.items() if selector.items() <= own}
    assert guarded == set(labels)
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        deployment = named(manifests, target["kind"])[target["name"]]
        assert "replicas" not in deployment["spec"]


def test_whatever_a_pod_refers_to_is_there(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        mounted = set()
        for container in containers_of(pod):
            mounted |= {mount["name"] for mount in container["volumeMounts"]}
            for source in container.get("envFrom", []):
                assert source["configMapRef"]["name"] in named(manifests, "ConfigMap"), name
        assert mounted == set(volumes), name
        for volume in volumes.values():
            if claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in named(manifests, "PersistentVolumeClaim"), name
            if secret := volume.get("secret"):
                assert secret["secretName"] in MADE_BY_HAND, name


def test_what_is_made_by_hand_is_made_in_the_documentation() -> None:
    page = (KUBERNETES.parents[1] / "docs" / "kubernetes.md").read_text()
    for name in MADE_BY_HAND:
        assert f"create secret generic {name} " in page


def test_every_pod_may_run_where_pods_are_restricted(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers_of(pod):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= set(container["resources"]["requests"]), name
            assert "memory" in container["resources"]["limits"], name


def test_no_service_of_the_cluster_can_set_a_setting(manifests: list[Manifest]) -> None:
    # A Service that is called hrem would set HREM_PORT.
    for _, pod in pods(manifests):
        assert pod["spec"]["enableServiceLinks"] is False


def test_all_containers_run_one_image_of_a_named_version(manifests: list[Manifest]) -> None:
    images = {container["image"] for _, pod in pods(manifests) for container in containers_of(pod)}
    (image,) = images
    assert re.fullmatch(r"(registry\.example\.org/)?hrem-search:\d+\.\d+\.\d+(-gpu)?", image)


def test_only_what_writes_the_index_may_write_to_it(manifests: list[Manifest]) -> None:
    for _, pod in pods(manifests):
        writes = pod["metadata"]["labels"]["app.kubernetes.io/component"] == "index"
        for container in containers_of(pod):
            for mount in container["volumeMounts"]:
                may_write = not mount.get("readOnly", False)
                assert may_write == (
                    mount["name"] == "tmp" or (mount["name"] == "index" and writes)
                ), name


def test_the_service_takes_every_setting_and_its_value(
    manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    container = service_container(manifests)
    variables = environment_of(container, manifests)
    set_here = {name for name in variables if name.startswith("HREM_")}
    assert set_here <= {f"HREM_{field.upper()}" for field in ServiceConfig.model_fields}
    for name in set_here:
        monkeypatch.setenv(name, variables[name])
    config = load_settings("python -m service", ServiceConfig, container["command"][3:])
    assert container["command"][:3] == ["python3", "-m", "service"]
    assert "10.0.0.7" in config.allowed_hosts  # Prometheus asks by the pod's address
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for path in (config.index, config.images_root, config.keys):
        assert path is None or any(path.is_relative_to(mount) for mount in mounts)


def test_an_overlay_may_name_hosts_without_losing_those_of_the_base() -> None:
    hosts = {}
    for overlay in ("base", "example"):
        manifests = rendered(KUBERNETES / overlay)
        given = environment_of(service_container(manifests), manifests)["HREM_ALLOWED_HOSTS"]
        hosts[overlay] = set(given.split(","))
    assert hosts["example"] - hosts["base"] == {"search.example.org"}
    assert hosts["base"] < hosts["example"]


def test_the_documented_settings_that_are_switched_off_exist_too() -> None:
    text = (KUBERNETES / "base" / "settings.env").read_text()
    names = set(re.findall(r"^#? ?(HREM_\w+)=", text, flags=re.MULTILINE))
    assert names <= {f"HREM_{field.upper()}" for field in ServiceConfig.model_fields}


def test_running_requests_have_time_to_finish(manifests: list[Manifest]) -> None:
    container = service_container(manifests)
    pod = named(manifests, "Deployment")["hrem-search"]["spec"]["template"]["spec"]
    finishing = int(environment_of(container, manifests)["HREM_SHUTDOWN_TIMEOUT_S"])
    leaving = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= leaving + finishing + MARGIN_S


def test_no_replica_goes_before_a_new_one_is_ready(manifests: list[Manifest]) -> None:
    spec = named(manifests, "Deployment")["hrem-search"]["spec"]
    assert spec["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    startup = service_container(manifests)["startupProbe"]
    assert spec["progressDeadlineSeconds"] > startup["periodSeconds"] * startup["failureThreshold"]


async def test_probes_ask_what_the_service_answers(
    manifests: list[Manifest], client: httpx.AsyncClient
) -> None:
    container = service_container(manifests)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000}
    for probe, path in (
        ("startupProbe", "/health/ready"),
        ("readinessProbe", "/health/ready"),
        ("livenessProbe", "/health/live"),
    ):
        asked = container[probe]["httpGet"]
        assert asked == {"path": path, "port": "http"}
        assert (await client.get(path)).status_code == 200
    for service in of_kind(manifests, "Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports)


def test_gpus_are_asked_for_where_a_network_encodes_much() -> None:
    asking = set()
    manifests = rendered(KUBERNETES / "gpu")
    for name, pod in pods(manifests):
        if any("nvidia.com/gpu" in one["resources"]["limits"] for one in containers_of(pod)):
            asking.add(name)
    assert asking == {"hrem-search", "hrem-index-build", "hrem-index-add"}
    variables = environment_of(service_container(manifests), manifests)
    assert variables["HREM_DEVICE"] == "cuda"


async def test_the_monitor_asks_every_replica_for_metrics(
    tmp_path: Path, client: httpx.AsyncClient
) -> None:
    overlay = KUBERNETES.parent / "kubernetes"
    relative = [Path(*[".."] * len(tmp_path.parts[1:])) / part.relative_to("/")
                for part in (overlay / "base", overlay / "monitoring")]  # fmt: skip
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": [str(relative[0])], "components": [str(relative[1])]})
    )
    manifests = rendered(tmp_path)
    (monitor,) = of_kind(manifests, "PodMonitor")
    pod = named(manifests, "Deployment")["hrem-search"]["spec"]["template"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    # The alerts speak of this job.
    assert pod["metadata"]["labels"][monitor["spec"]["jobLabel"]] == "hrem-search"
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert (await client.get(endpoint["path"])).status_code == 200
    assert endpoint["authorization"]["credentials"]["name"] in MADE_BY_HAND
