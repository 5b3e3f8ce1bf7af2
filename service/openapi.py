"""The OpenAPI document: made from the routes and schemas, committed as docs/openapi.json.

Write it again after a change with: python -m service.openapi docs/openapi.json
"""

import json
import sys
from pathlib import Path
from typing import Any

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from model import console
from service.access.openapi_access import describe_access
from service.problems import ProblemDetail, describe_problems
from service.routes import admin, embed, items, operations, search, session
from service.schemas import (
    ImageEmbedding,
    ImageEmbeddingParams,
    ImageSearch,
    ImageSearchParams,
    PartsSearch,
    ReloadRequest,
    SessionRequest,
    TextEmbedding,
    TextSearch,
)
from service.searches.filters import FILTER_FIELD_SCHEMA, FILTER_SCHEMA

__all__ = ["openapi_document", "written_document"]

CONNECTION_PROBLEMS = ("malformed_http", "request_timeout", "headers_too_large")
DESCRIPTION = """\
Image-text retrieval with HREM: a sentence finds pictures, a picture finds captions.

Every answer that is not a success is a problem (RFC 9457, `application/problem+json`) with a
stable `code`.
"""


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document of all addresses except the pages."""
    parts = (search, embed, items, operations, session, admin)
    routes = [route for part in parts for route in part.router.routes]
    document = get_openapi(
        title="HREM search", version="0.1.0", description=DESCRIPTION, routes=routes
    )
    # Bodies are read by hand, within bounds, so their schemas are not in the routes' signatures.
    _, bodies = models_json_schema(
        [
            (TextSearch, "validation"),
            (ImageSearch, "validation"),
            (ImageSearchParams, "validation"),
            (PartsSearch, "validation"),
            (TextEmbedding, "validation"),
            (ImageEmbedding, "validation"),
            (ImageEmbeddingParams, "validation"),
            (ReloadRequest, "validation"),
            (SessionRequest, "validation"),
            (ProblemDetail, "serialization"),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas = document["components"]["schemas"]
    schemas.update(bodies["$defs"])
    schemas["Filter"] = FILTER_SCHEMA
    for schema in schemas.values():
        if "filter" in schema.get("properties", {}):
            schema["properties"]["filter"] = FILTER_FIELD_SCHEMA
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            answer = operation["responses"].get("422", {})
            # FastAPI writes its own 422 where a path has parameters; ours are answered by 404.
            if "application/json" in answer.get("content", {}):
                del operation["responses"]["422"]
            # Told by the connection itself, whatever was asked for.
            for status, described in describe_problems(*CONNECTION_PROBLEMS).items():
                operation["responses"].setdefault(str(status), described)
    describe_access(document)
    document["components"]["schemas"] = dict(sorted(schemas.items()))
    return document


def written_document() -> str:
    """Return the document as it is committed."""
    return json.dumps(openapi_document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        console.say("usage: python -m service.openapi FILE")
        sys.exit(2)
    Path(sys.argv[1]).write_text(written_document(), encoding="utf-8")
    console.say(f"wrote  {sys.argv[1]}")
