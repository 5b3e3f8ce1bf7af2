"""`make demo`: from nothing to a search page, with a model trained on generated scenes.

Three steps, then the service in the foreground:
scenes drawn -> data/scenes; model trained -> checkpoints/scenes; test split indexed ->
indexes/scenes. What is there and whole is reused; see `deploy.steps`.
"""

import os
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar, NoReturn

from pydantic import Field

import index_builder
import model
from deploy.steps import DemoError, Step, make_step
from model import console
from model.command_line import Command, run_command
from model.errors import ConfigError

__all__ = ["Demo", "demo_steps"]

MODEL = Path(model.__file__).parent
INDEX_BUILDER = Path(index_builder.__file__).parent
CHECKPOINT_FILES = ("config.json", "model.safetensors")


class Demo(Command):
    """Train on generated scenes, index their test split, serve the search page."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m deploy.demo --port 8080",
        "python -m deploy.demo --no-serve --folder /tmp/demo",
        "python -m deploy.demo --checkpoint checkpoints/mine",
    )

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=1, le=65535, description="port of the page and the API")
    folder: Path = Field(
        default=Path(), description="where data/, checkpoints/ and indexes/ are kept"
    )
    checkpoint: Path | None = Field(
        default=None,
        description="index with this checkpoint and train none; an empty folder counts as none",
    )
    serve: bool = Field(default=True, description="serve at the end; --no-serve only prepares")

    def run(self) -> None:
        """Make what is missing, say how long each step took, then become the service."""
        # Being told to stop ends the running step too, instead of leaving it behind.
        signal.signal(signal.SIGTERM, _stop)
        if self.serve and self.json_output:
            raise ConfigError(["json: a service prints no result; give --no-serve with --json"])
        if self.serve:
            check_port_is_free(self.host, self.port)
        started = time.monotonic()
        steps = demo_steps(self.folder, self.checkpoint)
        told: list[dict[str, object]] = []
        for place, step in enumerate(steps, start=1):
            label = f"[{place}/{len(steps)}]"
            is_done = step.is_done()
            if not is_done:
                console.say(f"{label} {step.summary}  → {step.output}")
                console.say(f"      $ {' '.join(('python', *step.command[1:]))}")
            outcome = make_step(step)
            told.append({"output": str(step.output), **asdict(outcome)})
            verb = "there already" if outcome.was_reused else f"{outcome.seconds:.1f} s"
            console.say(f"{label} {step.output}  {verb}")
        seconds = time.monotonic() - started
        console.say(f"prepared in {seconds:.1f} s")
        if self.json_output:
            console.result_json({"steps": told, "seconds": round(seconds, 1)})
        if self.serve:
            become_service(self.folder, self.host, self.port)


def demo_steps(folder: Path, given: Path | None = None) -> list[Step]:
    """Return the steps that end in `folder`/indexes/scenes, with a `given` checkpoint if any.

    Raises:
        DemoError: `given` is neither a checkpoint nor an empty folder.
    """
    trains = given is None or is_empty_folder(given)
    data = folder / "data" / "scenes"
    checkpoint = folder / "checkpoints" / "scenes" if given is None or trains else given
    python = sys.executable
    draw = Step(
        summary="draw scenes and write their captions",
        output=data,
        artefact="scenes.jsonl",
        command=(python, "-m", "model.data.scenes", "--output", str(data)),
        sources=(MODEL / "data" / "scenes", MODEL / "identifiers.py"),
    )
    train = Step(
        summary="train the demo model (a few minutes on two cores)",
        output=checkpoint,
        artefact="model.safetensors",
        command=(
            *(python, "-m", "model.training", "train", "--recipe", "scenes"),
            *("--data", str(data), "--output", str(checkpoint)),
            *("--cache-directory", str(folder / "cache")),
        ),
        sources=(
            *(
                MODEL / f"{name}.py"
                for name in ("alignment", "checkpoint", "config", "eval_mode", "hrem")
            ),
            *(MODEL / name for name in ("metrics.py", "encoders", "inputs")),
            *(MODEL / "data").glob("*.py"),
            *(MODEL / "training").glob("*.py"),
            MODEL / "training" / "relation",
            MODEL / "training" / "recipes" / "scenes.toml",
        ),
        after=draw,
    )
    index = Step(
        summary="index the test split, pictures and captions",
        output=folder / "indexes" / "scenes",
        artefact="current",
        command=(
            *(python, "-m", "index_builder", "build", "--checkpoint", str(checkpoint)),
            *("--images", str(data / "images-test.jsonl")),
            *("--images-root", str(data / "images")),
            *("--captions", str(data / "captions-test.jsonl")),
            *("--output", str(folder / "indexes" / "scenes")),
        ),
        # A checkpoint that was given is known by what is in it: another may lie there tomorrow.
        sources=(INDEX_BUILDER,)
        if trains
        else (INDEX_BUILDER, *(checkpoint / name for name in CHECKPOINT_FILES)),
        after=train if trains else draw,
    )
    return [draw, train, index] if trains else [draw, index]


def is_empty_folder(checkpoint: Path) -> bool:
    """Return whether nothing is in `checkpoint`.

    Raises:
        DemoError: There is something, and it is no checkpoint.
    """
    if checkpoint.is_dir() and not any(checkpoint.iterdir()):
        return True
    missing = [name for name in CHECKPOINT_FILES if not (checkpoint / name).is_file()]
    if missing:
        raise DemoError(
            f"{checkpoint}/ is no checkpoint: {' and '.join(missing)} missing; "
            "give a folder that training has written"
        )
    return False


def check_port_is_free(host: str, port: int) -> None:
    """Try the address now, before minutes of training.

    Raises:
        DemoError: Somebody listens there, or the address cannot be had.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the service does
        try:
            trial.bind((host, port))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise DemoError(
                f"cannot listen on {host}:{port}: {reason}; choose another: "
                f"make demo PORT={port + 1}"
            ) from error


def become_service(folder: Path, host: str, port: int) -> NoReturn:
    """Replace this process by the service, so that Ctrl-C and signals reach it directly."""
    arguments = ["-m", "service", "--index", str(folder / "indexes" / "scenes")]
    # The pictures are named afresh: the folder may have been moved since it was indexed.
    arguments += ["--images-root", str(folder / "data" / "scenes" / "images")]
    arguments += ["--host", host, "--port", str(port), "--no-log-requests"]
    console.say(f"      $ {' '.join(('python', *arguments))}")
    os.execv(sys.executable, [sys.executable, *arguments])


def _stop(*_: object) -> NoReturn:
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(run_command("python -m deploy.demo", Demo))
