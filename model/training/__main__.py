"""Commands: python -m model.training train | evaluate | convert | ablate."""

import sys

from model.command_line import Command, run_commands
from model.training.ablate import Ablate
from model.training.convert import Convert
from model.training.evaluate import Evaluate
from model.training.train import Train

COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "evaluate": Evaluate,
    "convert": Convert,
    "ablate": Ablate,
}

if __name__ == "__main__":
    sys.exit(run_commands("python -m model.training", COMMANDS))
