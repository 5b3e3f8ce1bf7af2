"""What the OpenAPI document says about keys: how they are shown, where, and what is refused."""

from typing import Any

from service.access.gatekeeper import SESSION_COOKIE, is_admin_path, is_open
from service.access.hosts import HEALTH
from service.problems import describe_problems

__all__ = ["describe_access"]

SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the file of --keys. Without such a file no key is asked for.",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": SESSION_COOKIE,
        "description": "Opened by POST /session; for pages of this service alone.",
    },
}


def describe_access(document: dict[str, Any]) -> None:
    """Add the ways to show a key, and the answers to who shows none, to an OpenAPI document."""
    document["components"]["securitySchemes"] = SCHEMES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            codes = [] if path.startswith(HEALTH) else ["host_not_allowed"]
            if is_admin_path(path):
                operation["security"] = [{"key": []}]
                codes += ["unauthorized", "forbidden", "rate_limited"]
            elif not is_open(method.upper(), path):
                # {} comes first: most services run without keys.
                operation["security"] = [{}, {"key": []}, {"session": []}]
                codes += ["unauthorized", "forbidden", "rate_limited"]
            answers = operation["responses"]
            for status, described in describe_problems(*codes).items():
                answers.setdefault(str(status), described)
            operation["responses"] = dict(sorted(answers.items()))
