"""One small made-up index, the real service on it, and loads of that from another process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.load_generator import LoadPlan, LoadReport, generate
from benchmarks.made_up_index import NetworkSize, made_up_captions
from benchmarks.running_service import RunningService, running_service
from benchmarks.service_load import Cores, ensured_index, processor_cores
from benchmarks.stopwatch import in_fresh_process

# A hundredth of BERT-base: it is counted here how requests end, not how fast.
TINY = NetworkSize(word_count=600, hidden=32, layers=2, heads=2, dim=64, region_dim=16)
Load = Callable[..., LoadReport]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("load")


@pytest.fixture(scope="session")
def captions() -> list[str]:
    return made_up_captions(4096, TINY)


@pytest.fixture(scope="session")
def index(folder: Path) -> Path:
    return ensured_index(folder, "bert", count=2000, size=TINY)


@pytest.fixture(scope="session")
def cores() -> Cores:
    return processor_cores()


@pytest.fixture(scope="session")
def service(index: Path, folder: Path, cores: Cores) -> Iterator[RunningService]:
    settings = ("--max-waiting-items", "32", "--device", "cpu", "--query-timeout-ms", "60000")
    log = folder / "log"
    with running_service(index, *settings, log=log, core=cores.service) as running:
        yield running


@pytest.fixture
def load(service: RunningService, cores: Cores) -> Load:
    """Loads the service: with bodies, seconds, and clients or a rate."""

    def load(bodies: list[dict[str, Any]], **more: Any) -> LoadReport:
        encoded = [json.dumps(body).encode() for body in bodies]
        return in_fresh_process(
            generate, LoadPlan(service.url, encoded, core=cores.generator, **more)
        )

    return load
