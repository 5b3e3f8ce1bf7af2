"""The walls of the house: who may import whom, and who may print."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model.released import hrem_from_released

ROOT = Path(__file__).parents[1]
FLOORS = ("model", "index_builder", "service")  # each may import those before it
SCAN = ROOT / "tests/parity/fixtures/scan"


def _modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(path: Path) -> Iterator[str]:
    """Yield every module that a file names in an import, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write the whole name"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def test_there_is_something_to_look_at():
    for floor in FLOORS:
        assert _modules(floor), f"no modules in {floor}; this file would prove nothing"


def test_imports_point_down_only():
    upward = [
        f"{_name(path)} imports {found}"
        for place, floor in enumerate(FLOORS)
        for path in _modules(floor)
        for found in _imports(path)
        for above in (*FLOORS[place + 1 :], "tests", "benchmarks", "deploy")
        if _is_within(found, above)
    ]
    assert not upward


def test_only_training_imports_training():
    strangers = [
        f"{_name(path)} imports {found}"
        for path in _modules(*FLOORS, "deploy")
        if not _is_within(_name(path), "model.training")
        for found in _imports(path)
        if _is_within(found, "model.training")
    ]
    assert not strangers


def test_only_the_console_prints():
    writers = []
    for path in _modules(*FLOORS, "deploy", "benchmarks"):
        if _name(path) == "model.console":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"print", "sys.stdout.write", "sys.stderr.write"}:
                    writers.append(f"{path.relative_to(ROOT)}:{node.lineno} {called}")
    assert not writers


def test_settings_come_from_one_mechanism():
    parsers = [
        f"{_name(path)} imports {found}"
        for path in _modules(*FLOORS, "deploy", "benchmarks")
        for found in _imports(path)
        if found.split(".")[0] in {"argparse", "click", "typer", "fire", "optparse", "getopt"}
    ]
    assert not parsers


def test_modules_with_shapes_keep_real_annotations():
    # jaxtyping cannot check shapes at run time where annotations are strings.
    hidden = [
        _name(path)
        for path in _modules(*FLOORS)
        for found in [list(_imports(path))]
        if "__future__.annotations" in found and any(_is_within(f, "jaxtyping") for f in found)
    ]
    assert not hidden


def _loaded_modules(code: str) -> set[str]:
    """Return the names in `sys.modules` after running `code` in a fresh interpreter."""
    told = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nfor name in sorted(sys.modules): print(name)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr
    return set(told.stdout.split())


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("architecture") / "checkpoint"
    hrem = hrem_from_released(SCAN / "model_best.pth", vocabulary=SCAN / "tokenizer/vocab.txt")
    hrem.save_pretrained(folder)
    return folder


def test_loading_and_encoding_use_nothing_of_training(checkpoint):
    loaded = _loaded_modules(
        "from model.dual_encoder import load_dual_encoder\n"
        f"load_dual_encoder({str(checkpoint)!r}).encode_captions(['a dog on grass'])"
    )
    assert "model.hrem" in loaded
    assert not {name for name in loaded if _is_within(name, "model.training")}


def test_builder_and_service_load_nothing_of_training():
    names = [
        _name(path) for path in _modules("index_builder", "service") if path.name != "__main__.py"
    ]
    loaded = _loaded_modules("\n".join(f"import {name}" for name in names))
    assert {"index_builder", "service"} <= loaded
    assert not {name for name in loaded if _is_within(name, "model.training")}
    assert not {name for name in loaded if _is_within(name, "tensorboard")}
