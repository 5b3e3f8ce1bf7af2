"""Commands: python -m model.training train | evaluate."""

import sys

from model.command_line import run_commands
from model.training.evaluate import Evaluate
from model.training.train import Train

if __name__ == "__main__":
    sys.exit(run_commands("python -m model.training", {"train": Train, "evaluate": Evaluate}))
