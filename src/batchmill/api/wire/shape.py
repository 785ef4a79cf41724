"""What all shapes share: how they are read and written, and the envelope of errors."""

from collections.abc import Iterable
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response


class Shape(BaseModel):
    """What clients send or get; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())


class ExpiresAfter(Shape):
    """How long a file lives."""

    anchor: Literal["created_at"] = Field(description="What the life is counted from.")
    seconds: int = Field(description="3600 (an hour) to 2592000 (30 days).")


class Fault(Shape):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(Shape):
    """The body of every answer with a status from 400."""

    error: Fault


class Health(Shape):
    """The server answers."""

    status: Literal["ok"] = "ok"


def answer(shape: BaseModel, status: int = 200) -> Response:
    """The shape as a response."""
    return Response(shape.model_dump_json(), status, media_type="application/json")


def seconds_of(time: float | None) -> int | None:
    """Whole seconds, rounded down."""
    return None if time is None else int(time)


def ends_of(ids: Iterable[str]) -> tuple[str | None, str | None]:
    """The first and the last id of a page; both None for an empty one."""
    listed = list(ids)
    return (listed[0], listed[-1]) if listed else (None, None)
