"""What can go wrong for a client.

ClientError
├── ServiceProblem             the service answered that it will not: `code` says why
├── ServiceUnreachableError    no answer came: no connection, or not in time
└── UnexpectedAnswerError      a success, but none of this API: wrong address, or release
"""

from typing import Self

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from model.errors import HremError

__all__ = [
    "ClientError",
    "ProblemItem",
    "ServiceProblem",
    "ServiceUnreachableError",
    "UnexpectedAnswerError",
]

MAX_SHOWN_CHARACTERS = 200


class ClientError(HremError):
    """A call has no answer."""


class ServiceUnreachableError(ClientError):
    """No answer came: no connection, or not in time."""


class UnexpectedAnswerError(ClientError):
    """The answer is a success, but none of this API."""


class ProblemItem(BaseModel):
    """One thing that is wrong with a request, and where."""

    model_config = ConfigDict(frozen=True)

    where: str
    code: str
    message: str


class _ProblemDetail(BaseModel):
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ProblemItem]


class ServiceProblem(ClientError):  # noqa: N818 - the RFC's word
    """The service will not answer (RFC 9457).

    Args:
        code: Stable name of the problem; "unknown" where the answer is no problem of this API, as
            a proxy in between may write them.
        status: HTTP status.
        detail: What happened and what to do.
        errors: Each single thing that is wrong; may be empty.
        request_id: What the service's log knows the request by; None where it did not say.
    """

    def __init__(
        self,
        code: str,
        status: int,
        *,
        detail: str,
        errors: tuple[ProblemItem, ...] = (),
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{code} ({status}): {detail}")
        self.code = code
        self.status = status
        self.detail = detail
        self.errors = errors
        self.request_id = request_id

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """Return the problem that an answer, already read, holds."""
        try:
            said = _ProblemDetail.model_validate_json(response.content)
        except ValidationError:
            shown = " ".join(response.text[:MAX_SHOWN_CHARACTERS].split())
            detail = f"{response.url} answered without a problem document: {shown or 'nothing'}"
            request_id = response.headers.get("X-Request-ID")
            return cls("unknown", response.status_code, detail=detail, request_id=request_id)
        return cls(
            said.code,
            said.status,
            detail=said.detail,
            errors=tuple(said.errors),
            request_id=said.request_id,
        )
