"""Dashboard, scrape configuration and alerts speak of metrics that the service really has."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from index_builder.build import build_index
from service.app import create_app
from service.config import ServiceConfig
from tests.worlds import tiny_checkpoint, write_world

pytestmark = pytest.mark.anyio
DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "hrem-search.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
SCRAPE = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
# Labels that Prometheus itself adds to every series, or a query makes.
TARGET_LABELS = {"job", "instance", "le", "version"}
# Made by Prometheus, about the scrape.
PROMETHEUS_OWN = {"up"}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Labels by the name of every sample of a service that answered a search and refused one."""
    folder = tmp_path_factory.mktemp("monitoring")
    world = write_world(folder / "world")
    checkpoint = tiny_checkpoint(folder)
    build_index(checkpoint=checkpoint, output=folder / "index", images=world / "images")
    app = create_app(ServiceConfig(index=folder / "index", device="cpu"))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        await client.post("/search/text", json={"query": "red"})
        await client.post("/search/text", json={"query": ""})
        text = (await client.get("/metrics")).text
    app.state.served.close()
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels.setdefault(sample.name, set()).update(sample.labels)
    return labels


def expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


def named_metrics(expression: str) -> set[str]:
    outside_text = re.sub(r'"[^"]*"', '""', expression)
    return set(re.findall(r"\b(?:hrem|process)_\w+|\bup\b", outside_text))


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
async def test_an_expression_uses_metrics_and_labels_that_there_are(
    name: str, expression: str, shown: dict[str, set[str]]
) -> None:
    metrics = named_metrics(expression)
    assert metrics
    assert metrics - PROMETHEUS_OWN <= set(shown)
    known = TARGET_LABELS.union(*(shown.get(metric, set()) for metric in metrics))
    for listed in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(re.findall(r"\w+", listed)) <= known
    for metric, chosen in re.findall(r"(\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*=", re.sub(r'"[^"]*"', "", chosen)))
        assert labels <= TARGET_LABELS | shown.get(metric, set())


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_an_expression_is_balanced(name: str, expression: str) -> None:
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    assert expression.count('"') % 2 == 0


def test_histograms_are_asked_by_their_buckets_and_counters_by_rates() -> None:
    for _, expression in expressions():
        if "histogram_quantile" in expression:
            assert re.search(r"_bucket\b", expression)
            assert re.search(r"by \([^)]*\ble\b", expression)
        for counter in re.findall(r"\w+_(?:total|bucket|sum|count)\b", expression):
            assert re.search(rf"(?:rate|increase)\({counter}\b", expression), counter


def test_the_dashboard_has_what_grafana_asks_of_one() -> None:
    assert DASHBOARD["schemaVersion"] == 39
    assert DASHBOARD["uid"]
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_variable_of_the_dashboard_is_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - {"__rate_interval"} <= defined


def test_the_dashboard_shows_rates_quantiles_queue_batches_refusals_version_and_memory() -> None:
    together = " ".join(expression for _, expression in expressions())
    for metric in (
        "hrem_requests_total", "hrem_problems_total", "hrem_stage_seconds_bucket",
        "hrem_waiting_items", "hrem_waiting_items_limit", "hrem_batch_items_sum",
        "hrem_index_version", "hrem_reloads_total", "process_resident_memory_bytes",
    ):  # fmt: skip
        assert metric in together
    for quantile in ("0.5,", "0.95,", "0.99,"):
        assert f"histogram_quantile({quantile}" in together


def test_alerts_say_what_happened_and_what_to_do() -> None:
    rules: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    documented = (DEPLOY.parent / "docs" / "operations.md").read_text()
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert set(rule["annotations"]) == {"summary", "what_to_do"}
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
        assert f"`{rule['alert']}`" in documented


def test_the_example_of_a_scrape_configuration_asks_the_service_and_loads_the_alerts() -> None:
    (job,) = SCRAPE["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"][0]["targets"]
    for name in SCRAPE["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            for named in re.findall(r'job="([^"]+)"', rule["expr"]):
                assert named == job["job_name"]
