#!/usr/bin/env python3
"""Writes docs/reference/api.md from the server's own /openapi.json.

Run it after a change to a route, a shape or an example; a test fails while the
page is stale.
"""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gen_marker import ROOT, table, write

from batchmill.api.docs import describe
from batchmill.config import Settings
from batchmill.wiring.api import make_app
from batchmill.wiring.parts import open_parts

PAGE = ROOT / "docs" / "reference" / "api.md"
Json = dict[str, Any]

INTRODUCTION = """\
# HTTP API

<!-- Written by scripts/gen_api_doc.py: change src/batchmill/api instead. -->

The same description for machines is at `/openapi.json` of every server. Paths under `/v1` are
also served under `/compatible-mode/v1`. Every `GET` answers `HEAD` too. Every answer has an
`x-request-id`, which names the request in the server's log. Errors have one shape,
[`ErrorBody`](#errorbody); all of them are explained in [errors](errors.md). Answers that every
operation may give (403, 421, 500, 503) are left out of the tables below.
"""

_EVERYWHERE = {"401", "403", "421", "500"}


def render() -> str:
    """The whole page."""
    spec = asyncio.run(read_description())
    operations = "\n".join(_tags(spec))
    shapes = "\n".join(_shape(*item) for item in sorted(spec["components"]["schemas"].items()))
    return f"{INTRODUCTION}\n{operations}\n## Objects\n\n{shapes}"


async def read_description() -> Json:
    """What the server would answer to GET /openapi.json."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.model_validate({"data": {"dir": Path(folder)}})
        async with open_parts(settings) as parts:
            return _inlined(describe(make_app(settings, parts, lambda: None)))


def _inlined(spec: Json) -> Json:
    """The description with lists of allowed values where they are used, not as objects."""
    schemas = spec["components"]["schemas"]
    for name in [name for name, schema in schemas.items() if "properties" not in schema]:
        # Without its braces: a description may stand beside the reference.
        schema = json.dumps(schemas.pop(name))[1:-1]
        ref = json.dumps({"$ref": f"#/components/schemas/{name}"})[1:-1]
        spec = json.loads(json.dumps(spec).replace(ref, schema))
        schemas = spec["components"]["schemas"]
    return spec


# --- operations ---


def _tags(spec: Json) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for path, methods in spec["paths"].items():
        for method, operation in methods.items():
            told = _operation(method.upper(), path, operation)
            groups.setdefault(operation["tags"][0], []).append(told)
    for tag, told in groups.items():
        yield f"## {tag}\n\n" + "\n".join(told)


def _operation(method: str, path: str, operation: Json) -> str:
    parts = [
        f"### `{method} {path}`\n\n**{operation['summary']}.** {operation['description']}\n",
        _parameters(operation.get("parameters", [])),
        _body(operation.get("requestBody")),
        _answers(operation["responses"]),
    ]
    return "\n".join(part for part in parts if part)


def _parameters(parameters: list[Json]) -> str:
    if not parameters:
        return ""
    rows = [[f"`{one['name']}`", one["in"], _type(one["schema"]), _told(one)] for one in parameters]
    return table(["Parameter", "In", "Type", "What it is"], rows) + "\n"


def _told(parameter: Json) -> str:
    schema = parameter["schema"]
    told = parameter.get("description", "")
    if "default" in schema:
        told = f"{told} Default: `{schema['default']}`."
    for example in schema.get("examples", []):
        told = f"{told} Example: `{example}`."
    return told.strip()


def _body(body: Json | None) -> str:
    if body is None:
        return ""
    ((media, content),) = body["content"].items()
    schema = content["schema"]
    if "$ref" in schema:
        (sample, *_) = content["examples"].values()
        example = json.dumps(sample["value"], indent=2)
        return f"Body: `{media}`, {_type(schema)}.\n\n```json\n{example}\n```\n"
    required = set(schema.get("required", ()))
    rows = [
        [f"`{name}`", "yes" if name in required else "no", field["description"]]
        for name, field in schema["properties"].items()
    ]
    return f"Body: `{media}`.\n\n{table(['Field', 'Required', 'What it is'], rows)}\n"


def _answers(responses: Json) -> str:
    rows = [
        [status, _answer_type(response), _answer_told(status, response)]
        for status, response in responses.items()
        if status not in _EVERYWHERE and not _is_away(status, response)
    ]
    return table(["Status", "Body", "When"], rows) + "\n"


def _is_away(status: str, response: Json) -> bool:
    """Whether the answer says no more than that the database is away, as it may everywhere."""
    if status != "503":
        return False
    return set(response["content"]["application/json"]["examples"]) == {"storage_away"}


def _answer_type(response: Json) -> str:
    content = response.get("content", {})
    types = [
        _type(media["schema"]) if "$ref" in media["schema"] else f"`{name}`"
        for name, media in content.items()
    ]
    return ", ".join(types) or "none"


def _answer_told(status: str, response: Json) -> str:
    headers = [
        f"`{name}`: {header['description']}"
        for name, header in response.get("headers", {}).items()
        if name != "x-request-id"
    ]
    return " ".join([response["description"], *headers, *_examples(status, response)])


def _examples(status: str, response: Json) -> list[str]:
    """What the errors of this status say."""
    if int(status) < 400:
        return []
    media = response["content"]["application/json"]
    return [f"“{one['value']['error']['message']}”" for one in media["examples"].values()]


# --- shapes ---


def _shape(name: str, schema: Json) -> str:
    required = set(schema.get("required", ()))
    rows = [
        [f"`{field}`", _type(one), _field_told(one, optional=field not in required)]
        for field, one in schema.get("properties", {}).items()
    ]
    told = schema.get("description", "")
    return f"### {name}\n\n{told}\n\n{table(['Field', 'Type', 'What it is'], rows)}\n"


def _field_told(schema: Json, *, optional: bool) -> str:
    fixed = [f"Always `{json.dumps(schema['const'])}`."] if "const" in schema else []
    omitted = ["May be left out."] if optional and "const" not in schema else []
    return " ".join([schema.get("description", ""), *fixed, *omitted]).strip()


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema and "type" in schema["additionalProperties"]:
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any")) + _bounds(schema)


def _bounds(schema: Json) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    return f", {least} to {most}" if least is not None and most is not None else ""


if __name__ == "__main__":
    write(PAGE, render())
