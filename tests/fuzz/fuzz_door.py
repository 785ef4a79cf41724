"""The way from a fuzzer's requests to an application in this process: no ports, no threads.

Requests pass as a server would pass them on: header values as the octets they
were, the path decoded, the body in one piece. Answers are whole when they come.
"""

import asyncio
from dataclasses import dataclass, field
from http.client import responses
from io import BytesIO
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import FastAPI
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from starlette.types import Message, Scope
from urllib3 import HTTPHeaderDict, HTTPResponse

HOST = "localhost"
BASE = f"http://{HOST}"


def session_with(app: FastAPI, runner: asyncio.Runner) -> Session:
    """A session whose every request goes to ``app``, on the runner's loop."""
    session = Session()
    session.trust_env = False
    session.mount(BASE, _Door(app, runner))
    return session


class _Door(HTTPAdapter):
    def __init__(self, app: FastAPI, runner: asyncio.Runner) -> None:
        super().__init__()
        self._app = app
        self._runner = runner

    def send(self, request: PreparedRequest, *_: Any, **__: Any) -> Response:
        answer = self._runner.run(_ask(self._app, _scope(request), _content(request.body)))
        raw = HTTPResponse(
            body=BytesIO(b"" if request.method == "HEAD" else answer.content),
            headers=HTTPHeaderDict(answer.headers),
            status=answer.status,
            version=11,
            reason=responses.get(answer.status, ""),
            preload_content=False,
            request_method=request.method,
        )
        return self.build_response(request, raw)


@dataclass
class _Answer:
    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes = b""


async def _ask(app: FastAPI, scope: Scope, body: bytes) -> _Answer:
    answer, sent, ended = _Answer(), [body], asyncio.Event()

    async def receive() -> Message:
        if sent:
            return {"type": "http.request", "body": sent.pop(), "more_body": False}
        await ended.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            assert answer.status == 0, "an answer began twice"
            answer.status = message["status"]
            answer.headers = [_text(pair) for pair in message["headers"]]
            return
        assert answer.status, "a body came before its answer began"
        answer.content += message.get("body", b"")
        if not message.get("more_body", False):
            ended.set()

    await app(scope, receive, send)
    assert ended.is_set(), "an answer never ended"
    return answer


def _text(pair: tuple[bytes, bytes]) -> tuple[str, str]:
    return pair[0].decode("latin-1"), pair[1].decode("latin-1")


def _scope(request: PreparedRequest) -> Scope:
    parts = urlsplit(str(request.url))
    headers = [(_octets(name).lower(), _octets(value)) for name, value in request.headers.items()]
    if b"host" not in dict(headers):
        headers.insert(0, (b"host", HOST.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": parts.scheme,
        "path": unquote(parts.path),
        "raw_path": parts.path.encode(),
        "root_path": "",
        "query_string": parts.query.encode(),
        "headers": headers,
        "client": ("127.0.0.1", 50_000),
        "server": (HOST, 80),
        "state": {},
    }


def _octets(value: bytes | str) -> bytes:
    """A header's name or value as it goes over the wire."""
    return value if isinstance(value, bytes) else value.encode("latin-1")


def _content(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b"".join(body)
