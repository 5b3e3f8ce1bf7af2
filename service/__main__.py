"""`python -m service --index INDEX`: serve an index until SIGTERM or Ctrl-C."""

import contextlib
import faulthandler
import os
import sys
from typing import NoReturn

from model.command_line import run_command
from service.config import ServiceConfig


def _leave(status: int) -> NoReturn:
    """End the process as it is: all that is to be closed has been closed by then.

    Taking torch and FAISS apart, module by module, is seconds of work that count against the time
    that a supervisor gives before it kills.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.flush()
    os._exit(status)


if __name__ == "__main__":
    if sys.stderr is not None:
        # A file of the index that is cut short is a signal in whoever reads its mapped pages: the
        # only last words there can be are which one, and where.
        faulthandler.enable()
    _leave(run_command("python -m service", ServiceConfig))
