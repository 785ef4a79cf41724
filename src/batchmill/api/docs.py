"""How operations are described: what each answers, with an example of everything.

``operation`` makes the keyword arguments of a route; ``describe`` makes the
whole description of an application out of its routes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from starlette.responses import Response

from batchmill.api.doorkeeper import admission
from batchmill.api.errors import INVALID, SERVER
from batchmill.api.wire import SHAPES, ErrorBody
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access

_SCHEMAS: Final = "#/components/schemas/"
_ABOUT: Final = """\
Files, Uploads and Batches as OpenAI's clients know them, in front of your own models.

Every path is served below `/v1` and below `/compatible-mode/v1`. Every error has the same
envelope, and every answer an `x-request-id`. Every `GET` answers `HEAD` too.

A server that needs keys takes them as `Authorization: Bearer` or as `api-key`.
"""


@dataclass(frozen=True, slots=True)
class Sample:
    """An error that an operation may answer, as an example."""

    status: int
    name: str
    message: str
    param: str | None = None
    code: str | None = None
    type: str = INVALID

    def body(self) -> dict[str, Any]:
        """The envelope."""
        fault = {"message": self.message, "type": self.type, "param": self.param}
        return {"error": {**fault, "code": self.code}}


@dataclass(frozen=True, slots=True)
class Success:
    """What an operation answers when it succeeds; ``shape`` None is not JSON."""

    description: str
    shape: type[BaseModel] | None = None
    examples: Mapping[str, Any] | None = None
    media_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] | None = None
    table: str | None = None  # an example of the same in CSV, where that can be asked for


EVERYWHERE: Final = (
    Sample(
        403,
        "foreign_page",
        "Pages of 'https://evil.example' may not use this server.",
        code="origin_not_allowed",
    ),
    Sample(
        421,
        "wrong_host",
        "This server does not answer to the host 'evil.example': use localhost, or have its "
        "operator add the name to server.allowed_hosts.",
        code="host_not_allowed",
    ),
    Sample(
        500,
        "surprise",
        "The server met an error of its own in request req_0123456789abcdef: try again, and "
        "look for this id in the server's log if it stays.",
        type=SERVER,
    ),
    Sample(
        503,
        "storage_away",
        "The database cannot be reached now (ConnectionRefusedError); try again.",
        type=SERVER,
    ),
)


UNIDENTIFIED: Final = Sample(
    401,
    "unidentified",
    "Incorrect API key provided. Send 'Authorization: Bearer' and a key of this server that is "
    "neither revoked nor expired.",
    code="invalid_api_key",
)
FORBIDDEN: Final = Sample(
    403,
    "forbidden",
    "A read-only key cannot do this: it takes a member or an admin key.",
    code="permission_denied",
)


TOO_SOON: Final = Sample(
    429,
    "too_soon",
    "Rate limit reached: files are uploaded at most 3 times in 1 s. Please try again in 0.412 s.",
    code="rate_limit_exceeded",
    type="requests",
)


# The one empty is that of a server which needs no keys.
_WITH_OR_WITHOUT_KEY: Final[Sequence[Mapping[str, Any]]] = [{"bearer": []}, {"api_key": []}, {}]
_KEYS: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key of this server."},
    "api_key": {
        "type": "apiKey",
        "in": "header",
        "name": "api-key",
        "description": "The same, as Azure's clients send it.",
    },
}


def operation(
    op: str,
    summary: str,
    description: str,
    *,
    success: Sequence[Success],
    access: Access,
    rate: RateRule | None = None,
    errors: Sequence[Sample] = (),
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The keyword arguments that describe a route, and who may use it how often."""
    responses: dict[int | str, dict[str, Any]] = {}
    for one in success:
        responses[one.status] = _success(one)
    for sample in (*errors, *_of_the_door(access), *_of_the_rate(rate), *EVERYWHERE):
        _add_error(responses, sample)
    return {
        "dependencies": [admission(access, rate)],
        "operation_id": op,
        "summary": summary,
        "description": description,
        "responses": responses,
        "openapi_extra": {
            **({"requestBody": body} if body else {}),
            "security": [] if access is Access.OPEN else _WITH_OR_WITHOUT_KEY,
        },
        "response_class": Response,
        "status_code": success[0].status,
    }


def _of_the_door(access: Access) -> Sequence[Sample]:
    """How a door that asks for keys refuses."""
    if access is Access.OPEN:
        return ()
    return (UNIDENTIFIED,) if access is Access.READ else (UNIDENTIFIED, FORBIDDEN)


def _of_the_rate(rate: RateRule | None) -> Sequence[Sample]:
    """How a request is refused that comes too soon."""
    return () if rate is None else (TOO_SOON,)


def json_body(
    shape: type[BaseModel], example: Mapping[str, Any], *, required: bool = True
) -> dict[str, Any]:
    """A JSON request body."""
    media = {"schema": _ref(shape), "examples": {"body": _frozen(example)}}
    return {"required": required, "content": {"application/json": media}}


def form_body(
    file_field: str, fields: Mapping[str, str], required: Sequence[str]
) -> dict[str, Any]:
    """A multipart request body of one file and some text fields, described by their sentences."""
    properties: dict[str, Any] = {
        name: {"type": "string", "description": text} for name, text in fields.items()
    }
    properties[file_field]["format"] = "binary"
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"required": True, "content": {"multipart/form-data": {"schema": schema}}}


def describe(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI description of the application."""
    spec = get_openapi(
        title="batchmill",
        version=version("batchmill"),
        description=_ABOUT,
        routes=app.routes,
        servers=[{"url": "/"}],
    )
    spec.setdefault("components", {})["securitySchemes"] = dict(_KEYS)
    schemas = spec["components"].setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for shape in SHAPES:
        schemas.update(_schemas_of(shape))
    for path in spec["paths"].values():
        for described in path.values():
            _finish(described)
    return spec


# The framework would build a validator for every shape of every answer, at a third of a
# second; no answer is ever validated, so the description names their schemas by itself.
def _ref(shape: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"{_SCHEMAS}{shape.__name__}"}


def _schemas_of(shape: type[BaseModel]) -> dict[str, Any]:
    schema = shape.model_json_schema(ref_template=_SCHEMAS + "{model}")
    return {**schema.pop("$defs", {}), shape.__name__: schema}


def _finish(described: dict[str, Any]) -> None:
    """Take out the framework's own refusal, and name the header that every answer has."""
    described["responses"].pop("422", None)
    _thaw(described.get("requestBody", {}))
    for response in described["responses"].values():
        headers = response.setdefault("headers", {})
        headers["x-request-id"] = _header("Names this request in the server's log.")
        _thaw(response)


# The framework leaves every null out of what it makes, and examples live by their nulls:
# they pass through it as text.
def _frozen(value: object) -> dict[str, str]:
    return {"value": json.dumps(value)}


def _thaw(described: dict[str, Any]) -> None:
    for media in described.get("content", {}).values():
        for example in media.get("examples", {}).values():
            example["value"] = json.loads(example["value"])


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _success(one: Success) -> dict[str, Any]:
    examples = {name: _frozen(value) for name, value in (one.examples or {}).items()}
    schema = _unshaped(one.media_type) if one.shape is None else _ref(one.shape)
    response: dict[str, Any] = {"description": one.description}
    if one.examples is not None:
        response["content"] = {one.media_type: {"schema": schema, "examples": examples}}
    if one.table is not None:
        examples = {"table": _frozen(one.table)}
        media = {"schema": {"type": "string"}, "examples": examples}
        response.setdefault("content", {})["text/csv"] = media
    if one.headers:
        response["headers"] = {name: _header(text) for name, text in one.headers.items()}
    return response


def _unshaped(media_type: str) -> dict[str, str]:
    """What an answer without a shape is: text, or an object that somebody else defines."""
    return {"type": "object" if media_type == "application/json" else "string"}


def _add_error(responses: dict[int | str, dict[str, Any]], sample: Sample) -> None:
    response = responses.setdefault(
        sample.status,
        {
            "description": _REASONS[sample.status],
            "content": {"application/json": {"schema": _ref(ErrorBody), "examples": {}}},
        },
    )
    examples = response["content"]["application/json"]["examples"]
    examples[sample.name] = _frozen(sample.body())


_REASONS: Final = {
    400: "The request is wrong: change it.",
    401: "The server needs a key, and the request has none that opens it.",
    403: "The key's role does not reach so far, or a web page of another site sends the request.",
    404: "There is no such thing.",
    408: "The client stalled.",
    409: "The thing is in another state than the request needs; repeating it does not help.",
    416: "The range begins behind the file's end.",
    421: "The server does not go by this host name.",
    429: "A quota is used up, or requests come too fast: then `Retry-After` says how long to wait.",
    500: "The server met an error of its own.",
    503: "The server is not ready, or does not reach its database or its bucket now.",
    507: "The disk is full; nothing was stored.",
}
