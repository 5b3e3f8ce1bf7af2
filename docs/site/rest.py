"""Writes the page of the REST API while the site is built, from docs/openapi.json.

Every route with its parameters, bodies, answers and errors; then every object that travels, field
by field, and every problem code. `mkdocs.yml` runs this file (mkdocs-gen-files).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mkdocs_gen_files

from service.problems import PROBLEMS

Schema = dict[str, Any]
ROOT = Path(__file__).parents[2]
# What bounds a value, as people write it.
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
}


def write_rest() -> None:
    """Write reference/rest.md."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    lines = [
        "# REST",
        "",
        "From [openapi.json](../openapi.json); in words: [the API](../api.md).",
        "",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            lines += [f"## `{method.upper()} {path}`", "", *_route(route), ""]
    lines += ["## Objects", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### `{name}` {{ #{name} }}", "", *_object(schema), ""]
    lines += ["## Problem codes", "", "| code | status | |", "|---|---|---|"]
    lines += [f"| `{code}` | {status} | {title} |" for code, (status, title) in PROBLEMS.items()]
    with mkdocs_gen_files.open("reference/rest.md", "w") as written:
        written.write("\n".join(lines) + "\n")


def _route(route: Schema) -> Iterator[str]:
    yield route.get("description") or route["summary"]
    yield ""
    if parameters := route.get("parameters"):
        yield "| parameter | in | type | |"
        yield "|---|---|---|---|"
        for one in parameters:
            schemas = [one["schema"]] if "schema" in one else _schemas(one)
            kind = " or ".join(map(_type, schemas))
            yield f"| `{one['name']}` | {one['in']} | {kind} | {_cell(one.get('description'))} |"
        yield ""
    for media, body in route.get("requestBody", {}).get("content", {}).items():
        schema = body.get("schema", {})
        yield f"Body, `{media}`: {_type(schema)}"
        yield ""
        if "$ref" not in schema:
            yield from _object(schema)
            yield ""
    yield "| answer | body | |"
    yield "|---|---|---|"
    for status, answer in sorted(route["responses"].items()):
        kinds = " or ".join(
            f"{_type(body.get('schema', {}))}" if "json" in media else f"`{media}`"
            for media, body in answer.get("content", {}).items()
        )
        yield f"| {status} | {kinds} | {_cell(answer.get('description'))} |"


def _object(schema: Schema) -> Iterator[str]:
    if "description" in schema:
        yield schema["description"]
        yield ""
    if not schema.get("properties"):
        return
    required = schema.get("required", ())
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for name, field in schema["properties"].items():
        default = "required" if name in required else ""
        if "default" in field:
            default = f"`{json.dumps(field['default'])}`"
        yield f"| `{name}` | {_type(field)} | {default} | {_cell(field.get('description'))} |"


def _schemas(holder: Schema) -> list[Schema]:
    return [one.get("schema", {}) for one in holder.get("content", {}).values()]


def _type(schema: Schema) -> str:
    """Return what a value may be: names, choices and bounds; objects are links."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[`{name}`](#{name})"
    if either := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_type, either))
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    named = schema.get("type", "any")
    kind = named if isinstance(named, str) else " or ".join(named)
    if "format" in schema:
        kind += f" ({schema['format']})"
    if kind == "array":
        kind = f"list of {_type(schema.get('items', {}))}"
    bounds = [text.format(schema[name]) for name, text in BOUNDS.items() if name in schema]
    return ", ".join([kind, *bounds])


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


write_rest()
