"""The units start what there is, with real settings, and send signals that are handled."""

import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from index_builder.commands.add import Add
from model.command_line import load_settings
from service.config import ServiceConfig
from tests.unit.service.test_process import DEADLINE_S, environment, lines_until
from tests.worlds import tiny_index

UNITS = Path(__file__).parents[3] / "deploy" / "systemd"
PYTHON = "/opt/hrem/bin/python3"
MARGIN_S = 5


def lines_of(unit: str) -> Iterator[tuple[str, str]]:
    for line in (UNITS / unit).read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            yield name, value


def value_of(unit: str, name: str) -> str:
    (value,) = (value for known, value in lines_of(unit) if known == name)
    return value


def settings_file() -> dict[str, str]:
    return dict(lines_of("settings.env"))


def command_of(unit: str) -> list[str]:
    program, *arguments = shlex.split(value_of(unit, "ExecStart").replace("%%", "%"))
    assert program == PYTHON
    return arguments


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_index(tmp_path_factory.mktemp("systemd"))


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> ServiceConfig:
    for name, value in settings_file().items():
        monkeypatch.setenv(name, value)
    module, *arguments = command_of("hrem-search.service")[1:]
    return load_settings(module, ServiceConfig, arguments)


def test_every_setting_is_one_of_the_service(settings: ServiceConfig) -> None:
    written = re.findall(r"^#?(HREM_\w+)=", (UNITS / "settings.env").read_text(), re.MULTILINE)
    assert set(written) <= {f"HREM_{field.upper()}" for field in ServiceConfig.model_fields}
    assert set(settings_file()) <= set(written)
    assert settings.host == "127.0.0.1"  # it has no keys yet


def test_the_update_changes_the_index_that_is_served(settings: ServiceConfig) -> None:
    module, command, *arguments = command_of("hrem-index-update.service")[1:]
    assert (module, command) == ("index_builder", "add")
    assert load_settings("add", Add, arguments).index == settings.index
    state = value_of("hrem-index-update.service", "StateDirectory")
    assert settings.index.is_relative_to(f"/var/lib/{state}")


def test_running_requests_have_time_to_finish(settings: ServiceConfig) -> None:
    timeout = int(value_of("hrem-search.service", "TimeoutStopSec"))
    assert timeout >= settings.shutdown_timeout_s + MARGIN_S


def test_wrong_settings_are_not_tried_again() -> None:
    command = command_of("hrem-search.service")
    wrong = ["--port", "none"]
    done = subprocess.run([sys.executable, *command, *wrong], timeout=DEADLINE_S, check=False)
    assert value_of("hrem-search.service", "RestartPreventExitStatus") == str(done.returncode)
    assert value_of("hrem-search.service", "Restart") == "always"


def test_the_service_is_started_reloaded_and_stopped_as_the_unit_does_it(index: Path) -> None:
    settings = settings_file() | {"HREM_INDEX": str(index), "HREM_PORT": "0"}
    with started(settings | {"HREM_DEVICE": "cpu"}) as process:
        (ready,) = lines_until(process.stderr, "ready")[-1:]
        url = re.search(r"http://\S+?:\d+", ready)
        assert url is not None, ready
        reload = value_of("hrem-search.service", "ExecReload")
        subprocess.run(shlex.split(reload.replace("$MAINPID", str(process.pid))), check=True)
        with httpx.Client(base_url=url[0], timeout=DEADLINE_S) as client:
            for _ in range(200):
                if 'hrem_reloads_total{outcome="unchanged"} 1.0' in client.get("/metrics").text:
                    break
            else:
                pytest.fail("the service did not take the signal for a reload")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=int(value_of("hrem-search.service", "TimeoutStopSec")))
        assert process.returncode == 0


@contextmanager
def started(settings: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """The line of ExecStart with this Python, in the environment of the unit."""
    with subprocess.Popen(
        [sys.executable, *command_of("hrem-search.service")],
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | settings,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units with this Python in the place of the installed one."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed, so the units are not verified")
    paths = []
    for path in sorted({*UNITS.glob("*.service"), *UNITS.glob("*.timer")}):
        copy = tmp_path / path.name
        copy.write_text(path.read_text().replace(PYTHON, sys.executable))
        paths.append(str(copy))
    return paths


def test_systemd_reads_the_units_without_a_remark(units: list[str]) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_finds_the_services_little_exposed(units: list[str]) -> None:
    for unit in units:
        if unit.endswith(".service"):
            # 0 to 100; without any hardening a service has 96.
            command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", unit]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if "unrecognized option" in done.stderr:
                pytest.skip("this systemd-analyze is older than 250 and cannot look at files")
            assert done.returncode == 0, done.stdout + done.stderr
