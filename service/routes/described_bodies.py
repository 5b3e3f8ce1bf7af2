"""What the OpenAPI document says of request bodies.

Routes read them by hand, within bounds, so FastAPI does not see their schemas.
"""

from collections.abc import Mapping
from typing import Any

from service.intake.uploads import JSON, MULTIPART, NPY
from service.schemas import MAX_QUERIES

__all__ = ["TINY_GIF", "image_body", "json_body"]

# 1 x 1, for the examples.
TINY_GIF = "R0lGODdhAQABAIAAAP///////ywAAAAAAQABAAACAkQBADs="


def json_body(
    schema: str, examples: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the OpenAPI parts of a route that takes a JSON body.

    Args:
        schema: Its name.
        examples: Bodies, by what they show; default: those of the schema.
    """
    content = {"schema": _schema_named(schema)}
    if examples:
        content["examples"] = _examples(examples)
    return {"requestBody": {"required": True, "content": {JSON: content}}}


def image_body(
    whole: str, params: str, *, examples: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the OpenAPI parts of a route that takes pictures.

    Args:
        whole: Name of the schema of a JSON body.
        params: Name of the schema of what stands beside the pictures of another body.
        examples: Of JSON bodies, by what they show.
    """
    return {
        "requestBody": {
            "required": True,
            "content": {
                MULTIPART: {
                    "schema": {
                        "type": "object",
                        "required": ["file"],
                        "properties": {
                            "file": {
                                "type": "array",
                                "minItems": 1,
                                "maxItems": MAX_QUERIES,
                                "items": {"type": "string", "format": "binary"},
                                "description": "JPEG, PNG, WebP, GIF, BMP or TIFF",
                            },
                            "params": _schema_named(params),
                        },
                    },
                    "encoding": {"params": {"contentType": JSON}},
                },
                JSON: {
                    "schema": _schema_named(whole),
                    "examples": _examples(examples),
                },
                NPY: {
                    "schema": {
                        "type": "string",
                        "format": "binary",
                        "description": "region features of one image, (1 to 256 regions, width) "
                        "floats, as numpy.save writes them; for checkpoints trained on region "
                        "features",
                    }
                },
            },
        },
        "parameters": [
            {
                "name": "params",
                "in": "query",
                "description": f"the other fields of an {NPY} body",
                "content": {JSON: {"schema": _schema_named(params)}},
            }
        ],
    }


def _schema_named(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _examples(bodies: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: {"value": body} for name, body in bodies.items()}
