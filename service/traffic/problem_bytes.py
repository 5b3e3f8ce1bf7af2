"""A problem as the bytes of a whole answer, for what is refused before the application sees it."""

from collections.abc import Iterable
from http import HTTPStatus

from service.access.safety_headers import safety_headers
from service.problems import Problem, answer_problem

__all__ = ["problem_bytes"]


def problem_bytes(
    problem: Problem, request_id: str, server_headers: Iterable[tuple[bytes, bytes]], *, path: str
) -> bytes:
    """Return the answer that the application and its middleware would give, head and body.

    Args:
        problem: What is answered; its headers are part of the answer.
        request_id: Of the request that is refused.
        server_headers: Those of every answer, names in lower case.
        path: What was asked for; empty where that is not known.
    """
    answer = answer_problem(request_id, problem)
    headers = [
        *server_headers,
        *answer.raw_headers,
        (b"x-request-id", request_id.encode()),
        *((name.encode(), value.encode()) for name, value in safety_headers(path).items()),
    ]
    lines = [b"HTTP/1.1 %d %s" % (problem.status, HTTPStatus(problem.status).phrase.encode())]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join((*lines, b"", bytes(answer.body)))
