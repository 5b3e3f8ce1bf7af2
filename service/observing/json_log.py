"""The log: one JSON object a line on stderr, whoever speaks, and nothing of what was asked.

Query texts, pictures, file names and query strings are nobody's business but the client's, so no
line holds them. An error that nobody foresaw may quote them in its message; its line says which
error it was and where, without the message, unless that was asked for.
"""

import json
import logging
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType

from model.errors import DamagedIndexError

__all__ = ["access_log", "error_log", "log_as_json"]

access_log = logging.getLogger("service.access")
error_log = logging.getLogger("service.errors")


def log_as_json(*, with_requests: bool = True, with_error_messages: bool = False) -> None:
    """Send everything that is logged in this process to stderr, one JSON object a line.

    Also what Python warns of, and what kills a thread; those used to be plain lines.

    Args:
        with_requests: Every request has a line; failures are logged in any case.
        with_error_messages: Lines of unforeseen errors hold their messages, which may quote a
            query.
    """
    access_log.disabled = not with_requests
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(with_error_messages=with_error_messages))
    logging.captureWarnings(True)
    for name, level in ((None, logging.WARNING), ("service", logging.INFO)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
    # uvicorn brings handlers of its own where it is not told otherwise.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
        logger.setLevel(logging.WARNING)
    threading.excepthook = _log_dead_thread


def _log_dead_thread(args: threading.ExceptHookArgs) -> None:
    name = args.thread.name if args.thread else "unknown"
    value = args.exc_value if args.exc_value is not None else args.exc_type()
    error_log.error("thread %s died", name, exc_info=(args.exc_type, value, args.exc_traceback))


class _JsonLines(logging.Formatter):
    def __init__(self, *, with_error_messages: bool) -> None:
        super().__init__()
        self._with_error_messages = with_error_messages

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            # What is wrong with a file of the index quotes nobody.
            if self._with_error_messages or isinstance(error, DamagedIndexError):
                line["error_message"] = str(error)
            line["traceback"] = _frames(error)
        return json.dumps(line, ensure_ascii=False, default=str)


def _frames(error: BaseException) -> list[str]:
    """Return where an error was raised, innermost last, and what it was raised from before that."""
    lines: list[str] = []
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        lines += [*_frames(cause), f"{type(cause).__name__}, which led to"]
    return lines + _places(error.__traceback__)


def _places(trace: TracebackType | None) -> list[str]:
    return [f"{at.filename}:{at.lineno} {at.name}" for at in traceback.extract_tb(trace)]
