"""One shape for every error: RFC 9457 problem+json with a stable `code`.

`PROBLEMS` is the whole list. `type` is a URN of the code, `errors` names every single thing that
is wrong and where (an empty list if there is nothing to name), `request_id` finds the request in
the logs. No traceback and no file path ever stands in an answer.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from index_builder.lookups.filter_checks import FilterProblem
from model.errors import TooManyPixelsError
from service.errors import (
    BadFilterError,
    BadPicture,
    BadPicturesError,
    CannotExplainError,
    DeadlineError,
    FetchTooLargeError,
    MissingGalleryError,
    NoPictureError,
    NoWordsError,
    PartsCancelError,
    QueryError,
    QueueFullError,
    ReloadRefusedError,
    SourceGoneError,
    StaleVersionError,
    UnknownItemError,
    UnsupportedInputError,
    UrlNotAllowedError,
    UrlUnreachableError,
)
from service.meant_fields import hint_at_field
from service.searches.filters import PROBLEMS_OF_FILTER

__all__ = [
    "PROBLEMS",
    "QUERY_ERRORS",
    "Problem",
    "ProblemDetail",
    "ProblemItem",
    "answer_problem",
    "describe_problems",
    "install_problem_handlers",
    "invalid_request",
    "overloaded",
    "refuse_request",
]

MEDIA_TYPE = "application/problem+json"
MAX_ITEMS = 50
MAX_WHERE_CHARACTERS = 120

PROBLEMS: dict[str, tuple[int, str]] = {
    "unreadable_image": (400, "Not a readable picture"),
    "malformed_http": (400, "Not a request of HTTP/1.1"),
    "unauthorized": (401, "A key is needed"),
    "forbidden": (403, "Not for this key"),
    "not_found": (404, "Nothing at this address"),
    "gallery_missing": (404, "The index has no such gallery"),
    "unknown_item": (404, "No such item"),
    "no_picture": (404, "The item has no picture"),
    "method_not_allowed": (405, "Method not allowed"),
    "request_timeout": (408, "The request arrived too slowly"),
    "upload_timeout": (408, "The body arrived too slowly"),
    "stale_version": (409, "This index version is not served"),
    "reload_refused": (409, "The index cannot be served"),
    "source_gone": (410, "The picture's source is gone"),
    "body_too_large": (413, "The body is too large"),
    "too_many_pixels": (413, "The picture has too many pixels"),
    "too_many_queries": (413, "Too many queries in one request"),
    "unsupported_media_type": (415, "Content type not supported"),
    "host_not_allowed": (421, "The service does not answer for this host"),
    "invalid_request": (422, "The request is not valid"),
    "malformed_json": (422, "The body is not valid JSON"),
    "malformed_multipart": (422, "The body is not valid multipart/form-data"),
    "invalid_regions": (422, "The region features cannot be used"),
    "unsupported_input": (422, "The encoder cannot read this kind of query"),
    "url_not_allowed": (422, "Pictures may not be fetched from this URL"),
    "url_unreachable": (422, "There is no picture to be had at this URL"),
    "no_words": (422, "Hybrid search needs words"),
    "parts_cancel": (422, "The weighted parts cancel each other out"),
    "cannot_explain": (422, "This cannot be explained"),
    "rate_limited": (429, "Too many requests"),
    "headers_too_large": (431, "The request's head is too large"),
    "internal_error": (500, "Something went wrong"),
    "not_ready": (503, "Not ready"),
    "overloaded": (503, "Too much is waiting"),
    "deadline_exceeded": (504, "The deadline has passed"),
}
QUERY_ERRORS: dict[type[QueryError], str] = {
    StaleVersionError: "stale_version",
    MissingGalleryError: "gallery_missing",
    UnknownItemError: "unknown_item",
    NoPictureError: "no_picture",
    SourceGoneError: "source_gone",
    UnsupportedInputError: "unsupported_input",
    UrlNotAllowedError: "url_not_allowed",
    UrlUnreachableError: "url_unreachable",
    FetchTooLargeError: "body_too_large",
    NoWordsError: "no_words",
    PartsCancelError: "parts_cancel",
    CannotExplainError: "cannot_explain",
    QueueFullError: "overloaded",
    DeadlineError: "deadline_exceeded",
    ReloadRefusedError: "reload_refused",
}
# pydantic's names for what can be wrong with a value -> ours, which do not change with pydantic's.
ITEM_CODES = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "too_short": "empty",
    "literal_error": "not_a_choice",
    "string_unicode": "invalid_text",
    # Raised by our own schemas.
    "empty_query": "empty_query",
    "invalid_base64": "invalid_base64",
    "one_image_source": "one_image_source",
    "one_part_kind": "one_part_kind",
    "finite_number": "not_finite",
    "too_long": "out_of_range",
    "out_of_range": "out_of_range",
}


class ProblemItem(BaseModel):
    """One thing that is wrong."""

    where: str = Field(description="place in the request, such as query[2] or file[0]")
    code: str = Field(description="stable name of what is wrong")
    message: str = Field(description="what was expected, for people")


class ProblemDetail(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:hrem:problem:invalid_request",
                    "title": "The request is not valid",
                    "status": 422,
                    "detail": "limit: Input should be less than or equal to 100",
                    "code": "invalid_request",
                    "request_id": "4f1c0f6b2f0e4a31a3a2f6d6c3a7d1b9",
                    "errors": [
                        {
                            "where": "limit",
                            "code": "out_of_range",
                            "message": "Input should be less than or equal to 100",
                        }
                    ],
                }
            ]
        }
    )

    type: str = Field(description="URN made of the code")
    title: str = Field(description="the code in words")
    status: int = Field(description="HTTP status")
    detail: str = Field(description="what happened and what to do")
    code: str = Field(description="stable name of the problem")
    request_id: str = Field(description="also in the X-Request-ID header and in the logs")
    errors: list[ProblemItem] = Field(description="each single thing that is wrong, may be empty")


class Problem(Exception):  # noqa: N818 - the RFC's word
    """An error that is already an HTTP answer; `code` is one of `PROBLEMS`."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[ProblemItem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = PROBLEMS[code]
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def invalid_request(
    details: Iterable[ErrorDetails], *, inside: str = "", schema: type[BaseModel] | None = None
) -> Problem:
    """Return the problem of a request that its schema refuses, naming every error and where.

    Args:
        details: Pydantic's errors.
        inside: Name of the part that was validated, where it is not the whole body.
        schema: What it was validated by; its names are guessed at where a field is unknown.
    """
    details = list(details)
    for detail in details:
        if detail["type"] == "json_invalid":
            return Problem("malformed_json", f"{inside or 'body'}: {detail['msg']}")
        if detail["type"] == "too_long" and detail["loc"] == ("query",):
            return Problem("too_many_queries", f"query: {detail['msg']}; send them in parts")
    for detail in details[:MAX_ITEMS]:
        if detail["type"] == "extra_forbidden" and schema is not None:
            beside = [
                str(other["loc"][-1])
                for other in details
                if other["type"] == "missing" and other["loc"][:-1] == detail["loc"][:-1]
            ]
            detail["msg"] += hint_at_field(schema, detail["loc"], beside)
    return _invalid_request([item for detail in details for item in _problem_items(detail, inside)])


def _invalid_request(items: Sequence[ProblemItem]) -> Problem:
    message = "; ".join(f"{item.where}: {item.message}" for item in items[:3])
    if len(items) > 3:
        message += f"; and {len(items) - 3} more"
    return Problem("invalid_request", message, errors=items[:MAX_ITEMS])


def _problem_items(detail: ErrorDetails, inside: str) -> list[ProblemItem]:
    if detail["type"] == PROBLEMS_OF_FILTER:
        return _filter_items(detail["ctx"]["problems"], f"{inside}.filter" if inside else "filter")
    where = inside
    for part in detail["loc"]:
        where += f"[{part}]" if isinstance(part, int) else f".{part}" if where else part
    return [
        ProblemItem(
            where=(where or "body")[:MAX_WHERE_CHARACTERS],
            code=ITEM_CODES.get(detail["type"], "wrong_type"),
            message=detail["msg"],
        )
    ]


def _filter_items(problems: Iterable[FilterProblem], inside: str) -> list[ProblemItem]:
    return [
        ProblemItem(
            where=f"{inside}.{problem.where}".rstrip(".")[:MAX_WHERE_CHARACTERS],
            code=problem.code,
            message=problem.message,
        )
        for problem in problems
    ]


def answer_problem(request_id: str, problem: Problem) -> JSONResponse:
    """Return the problem+json answer of `problem`."""
    body = ProblemDetail(
        type=f"urn:hrem:problem:{problem.code}",
        title=problem.title,
        status=problem.status,
        detail=problem.detail,
        code=problem.code,
        request_id=request_id,
        errors=problem.errors,
    )
    return JSONResponse(
        body.model_dump(),
        status_code=problem.status,
        headers={"Cache-Control": "no-store", **problem.headers},
        media_type=MEDIA_TYPE,
    )


async def refuse_request(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request by a problem, from a middleware: nothing further in sees the request."""
    scope["state"]["problem_code"] = problem.code  # for the access log and the metrics
    await answer_problem(scope["state"]["request_id"], problem)(scope, receive, send)


def describe_problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of the problems that a route can answer with."""
    meanings: dict[int, list[str]] = {}
    for code in codes:
        status, title = PROBLEMS[code]
        meanings.setdefault(status, []).append(f"`{code}`: {title}")
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetail"}}}
    return {
        status: {"description": "; ".join(lines), "content": content}
        for status, lines in sorted(meanings.items())
    }


def install_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer every foreseen error as a problem; the middleware does the unforeseen."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        problem = _as_problem(error, request)
        request.state.problem_code = problem.code  # for the access log and the metrics
        return answer_problem(request.state.request_id, problem)

    for kind in (Problem, QueryError, HTTPException, RequestValidationError):
        app.add_exception_handler(kind, answer)


def _as_problem(error: Exception, request: Request) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, BadFilterError):
        return _invalid_request(_filter_items(error.problems, error.where))
    if isinstance(error, BadPicturesError):
        return _bad_pictures(error)
    if isinstance(error, QueueFullError):
        return overloaded(error)
    if isinstance(error, QueryError):
        return Problem(QUERY_ERRORS[type(error)], str(error))
    if isinstance(error, RequestValidationError):
        return invalid_request(error.errors())
    if isinstance(error, HTTPException) and error.status_code == 404:
        return Problem("not_found", "there is nothing at this address; see /docs")
    if isinstance(error, HTTPException) and error.status_code == 405:
        detail = f"{request.method} is not allowed here; see the Allow header"
        return Problem("method_not_allowed", detail, headers=error.headers)
    raise error


def overloaded(error: QueueFullError) -> Problem:
    """Return the problem of a request that there is no room for."""
    headers = {"Retry-After": str(error.retry_after_s)}
    return Problem("overloaded", str(error), headers=headers)


def _bad_pictures(error: BadPicturesError) -> Problem:
    items = [_picture_item(bad) for bad in error.pictures]
    first = items[0]
    return Problem(first.code, f"{first.where}: {first.message}", errors=items)


def _picture_item(bad: BadPicture) -> ProblemItem:
    code, message = "unreadable_image", bad.reason
    if issubclass(bad.kind, TooManyPixelsError):
        code, message = "too_many_pixels", f"{bad.reason}; send a smaller picture"
    return ProblemItem(where=bad.where, code=code, message=message)
