"""Steps that make artefacts once: a later run reuses what is whole and redoes what is not.

- A step is one public command that writes one folder. Beside the folder lies its stamp
  (`scenes.demo.json` beside `scenes/`), written when the command has succeeded.
- The stamp holds the step's key: the command, the meaning of the code behind it (its syntax tree
  without docstrings, so that a reworded comment costs no training), and the key of the step before.
- No stamp, another key, or a missing artefact: the folder is removed and made again. A folder that
  no stamp speaks for was made by somebody else; it is left alone and named.
"""

import ast
import contextlib
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.durable import write_file
from model.errors import HremError

__all__ = ["DemoError", "Outcome", "Step", "make_step"]

GRACE_S = 15  # what an interrupted command may take to save and stop


class DemoError(HremError):
    """A step of the demo failed, or found something that is not its own."""


@dataclass(frozen=True)
class Step:
    """One command and the folder that it makes.

    Args:
        summary: What it does, for people.
        output: The folder.
        artefact: A file in the folder that is there when the folder is whole.
        command: Program and arguments.
        sources: Files and folders of the code behind the command.
        after: The step whose output this one reads.
    """

    summary: str
    output: Path
    artefact: str
    command: tuple[str, ...]
    sources: tuple[Path, ...]
    after: "Step | None" = None

    @property
    def stamp(self) -> Path:
        """Where it is written that the folder is whole."""
        return self.output.with_name(f"{self.output.name}.demo.json")

    def key(self) -> str:
        """Return 64 hex digits that change when the folder ought to be made again."""
        # The program is left out: the same folder serves whichever Python made it.
        parts = [*self.command[1:], code_digest(self.sources)]
        if self.after is not None:
            parts.append(self.after.key())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def is_done(self) -> bool:
        """Return whether the folder is whole and made by this very command and code."""
        return (self.output / self.artefact).is_file() and self._stamped_key() == self.key()

    def _stamped_key(self) -> str | None:
        try:
            stamp = json.loads(self.stamp.read_text())
        except (OSError, ValueError):
            return None
        return stamp.get("key") if isinstance(stamp, dict) else None


@dataclass(frozen=True)
class Outcome:
    """How a step went."""

    was_reused: bool
    seconds: float


def make_step(step: Step) -> Outcome:
    """Make the folder of `step` unless it is there and whole; the command speaks for itself.

    Raises:
        DemoError: The command failed, or the folder is somebody else's.
    """
    started = time.monotonic()
    if step.is_done():
        return Outcome(was_reused=True, seconds=time.monotonic() - started)
    if step.output.exists() and not step.stamp.exists():
        raise DemoError(
            f"{step.output}/ is there but was not made by the demo; "
            "move it away, or choose another place with --folder"
        )
    step.output.parent.mkdir(parents=True, exist_ok=True)
    # A stamp without a key says: this folder is the demo's, and not whole yet.
    _write_stamp(step, {"key": None})
    if step.output.exists():
        shutil.rmtree(step.output)
    status = _run(step.command)
    if status != 0:
        raise DemoError(
            f"this command ended with status {status}, see its lines above: "
            + " ".join(("python", *step.command[1:]))
        )
    if not (step.output / step.artefact).is_file():
        raise DemoError(f"the command succeeded but {step.output / step.artefact} is missing")
    seconds = time.monotonic() - started
    _write_stamp(step, {"key": step.key(), "seconds": round(seconds, 1)})
    return Outcome(was_reused=False, seconds=seconds)


def _run(command: tuple[str, ...]) -> int:
    """Return the status of `command`; whoever interrupts us interrupts it, in good order."""
    with subprocess.Popen(command) as child:
        try:
            return child.wait()
        except BaseException as reason:
            # Ctrl-C has reached the child already; another end of ours has not.
            if not isinstance(reason, KeyboardInterrupt):
                child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                child.wait(GRACE_S)
            child.kill()
            raise


def _write_stamp(step: Step, content: dict[str, object]) -> None:
    write_file(step.stamp, json.dumps(content | {"command": list(step.command)}, indent=2) + "\n")


def code_digest(sources: Iterable[Path]) -> str:
    """Return the sha256 of what `sources` mean: comments, docstrings and layout do not count."""
    digest = hashlib.sha256()
    for path in sorted(_files(sources)):
        digest.update(f"\0{path.name}\0".encode())
        text = path.read_bytes()
        digest.update(_syntax(text) if path.suffix == ".py" else text)
    return digest.hexdigest()


def _files(sources: Iterable[Path]) -> set[Path]:
    found: set[Path] = set()
    for source in sources:
        if source.is_dir():
            found.update(path for path in source.rglob("*") if path.suffix in (".py", ".toml"))
        elif source.is_file():
            found.add(source)
        else:
            raise DemoError(f"{source} is missing; is this a whole copy of the project?")
    return found


def _syntax(source: bytes) -> bytes:
    with contextlib.suppress(SyntaxError):
        tree = ast.parse(source)
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if isinstance(body, list) and body and _is_docstring(body[0]):
                del body[0]
        return ast.dump(tree).encode()
    return source


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
