"""The demo as `make demo` makes it, once for all tests that look at it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo import demo_steps
from tests.live_service import Service, start_service, stop_service

ROOT = Path(__file__).parents[2]


def prepare_demo(folder: Path) -> str:
    """Run the demo without serving and return what it said."""
    place = () if folder == Path() else ("--folder", str(folder))
    # With every core, as a user's demo is: the tests' own bound of one thread is not for it.
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    ran = subprocess.run(
        [sys.executable, "-m", "deploy.demo", "--no-serve", *place],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stderr


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the demo is in, absolute.

    A demo that is there and whole, made by this very code, is used as it is.
    """
    if Path.cwd() == ROOT and all(step.is_done() for step in demo_steps(Path())):
        return ROOT
    folder = tmp_path_factory.mktemp("demo")
    prepare_demo(folder)
    return folder


@pytest.fixture(scope="session")
def demo_service(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service of the demo's index."""
    log = tmp_path_factory.mktemp("demo-service") / "stderr.txt"
    running = start_service(demo / "indexes" / "scenes", log)
    yield running
    stop_service(running)
