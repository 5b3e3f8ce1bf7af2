"""A real service that cannot write a byte to any disk, and how it fares."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.worlds import tiny_index

REPOSITORY = Path(__file__).parents[2]
START_DEADLINE_S = 400


@dataclass
class Confined:
    """A running service whose file size limit is zero.

    Attributes:
        url: Where it answers.
        process: Its process.
        log: The lines on its stderr so far.
    """

    url: str
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)

    def resident_mb(self, *, peak: bool = False) -> float:
        """Memory in use now, or the most since `forget_peak`."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+)" if peak else r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found[1]) / 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")


def confined_service(index: Path, *flags: object, temporary: Path) -> Iterator[Confined]:
    """Yield a service of `index` that may not write to files and has no temporary folder."""
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("HREM_")}
    settings = ["--index", str(index), "--port", "0", "--device", "cpu", *map(str, flags)]
    process = subprocess.Popen(
        # The limit is the kernel's: also what a library writes behind our back fails.
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "service", *settings],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **environment,
            "TMPDIR": str(temporary / "missing"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(REPOSITORY),
        },
    )
    service = Confined("", process)
    is_ready = threading.Event()

    def listen() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            service.log.append(line)
            if line.startswith("ready  "):
                service.url = line.split()[1].rstrip("/")
                is_ready.set()
        is_ready.set()

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        if not is_ready.wait(START_DEADLINE_S) or not service.url:
            pytest.fail(f"no service within {START_DEADLINE_S} s; it said:\n{''.join(service.log)}")
        yield service
        process.terminate()
        assert process.wait(timeout=120) == 0, service.log[-10:]
        listener.join(10)
        assert not [line for line in service.log if "Traceback" in line or "traceback" in line]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_index(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def service(index: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Confined]:
    yield from confined_service(index, temporary=tmp_path_factory.mktemp("temporary"))


@pytest.fixture
def api(service: Confined) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client
