"""`python -m service --index INDEX`: serve an index until SIGTERM or Ctrl-C."""

import sys

from model.command_line import run_command
from service.config import ServiceConfig

if __name__ == "__main__":
    sys.exit(run_command("python -m service", ServiceConfig))
