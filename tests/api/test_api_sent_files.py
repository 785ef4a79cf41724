"""Reading files from a server that sends them by itself: the same answers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import House, open_house, run
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from batchmill.door.content import ZERO_COPY

CONTENT = b'{"n":"0123456789"}\n'
SIZE = len(CONTENT)


class SendingServer(FastAPI):
    """A server with the extension around an application; ``sent`` counts its messages."""

    def __init__(self, app: FastAPI) -> None:
        super().__init__()
        self._app = app
        self.sent: list[tuple[int, int]] = []
        self.files: list[Any] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == ZERO_COPY:
                file, start, count = message["file"], message["offset"], message["count"]
                self.sent.append((start, count))
                self.files.append(file)
                file.seek(start)
                body = file.read(count)
                message = {"type": "http.response.body", "body": body, "more_body": False}
            await send(message)

        scope["extensions"] = {ZERO_COPY: {}}
        await self._app(scope, receive, sending)


async def both(
    house: House, method: str, path: str, headers: Mapping[str, str]
) -> tuple[SendingServer, Any, Any]:
    """The answer of a server with the extension, and that of one without."""
    server = SendingServer(house.app)
    plain = await house.client.request(method, path, headers=headers)
    transport = httpx2.ASGITransport(app=server)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.request(method, path, headers=headers)
    return server, answer, plain


@pytest.mark.parametrize(
    ("method", "headers", "sent"),
    [
        ("GET", {}, [(0, SIZE)]),
        ("GET", {"range": "bytes=2-4"}, [(2, 3)]),
        ("GET", {"range": "bytes=-4"}, [(SIZE - 4, 4)]),
        ("GET", {"range": f"bytes={SIZE}-"}, []),
        ("GET", {"if-none-match": "*"}, []),
        ("HEAD", {}, []),
    ],
)
def test_a_file_is_handed_to_the_server_that_can_send_it(
    tmp_path: Path, method: str, headers: dict[str, str], sent: list[tuple[int, int]]
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            path = f"/v1/files/{(await house.upload(CONTENT))['id']}/content"
            server, answer, plain = await both(house, method, path, headers)
            assert server.sent == sent
            assert all(file.closed for file in server.files)
            assert (answer.status_code, answer.content) == (plain.status_code, plain.content)
            told = {"x-request-id", "content-length", "content-range", "etag", "content-type"}
            assert told & set(answer.headers) == told & set(plain.headers)
            for name in told - {"x-request-id"}:
                assert answer.headers.get(name) == plain.headers.get(name)

    run(main())


def test_a_file_whose_bytes_have_gone_is_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file_id = (await house.upload(CONTENT))["id"]
            path = f"/v1/files/{file_id}/content"
            await house.client.delete(f"/v1/files/{file_id}")
            server, answer, plain = await both(house, "GET", path, {})
            assert answer.status_code == plain.status_code == 404
            assert not server.sent

    run(main())
