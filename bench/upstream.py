"""An upstream that costs next to nothing: one fixed answer, whatever is asked.

It reads a request no further than its Content-Length. ``batchmill
mock-upstream`` looks at each request and costs four times as much a line, with
which it would be what is measured. With a certificate and its key it speaks
HTTPS. Prints its port, and runs until SIGTERM.
"""

import argparse
import asyncio
import json
import signal
import ssl
from typing import cast

import uvloop

ANSWER = json.dumps(
    {
        "id": "chatcmpl-0123456789abcdef01234567",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "bench",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "The answer to it is yes. " * 8},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 140, "completion_tokens": 50, "total_tokens": 190},
    }
).encode()
REPLY = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(ANSWER)
) + ANSWER
LENGTH = b"content-length:"
HEAD_END = b"\r\n\r\n"


class Answerer(asyncio.Protocol):
    """One connection: as many answers as whole requests have come."""

    _transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._held = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._held + data if self._held else data
        while data and (size := request_size(data)) and len(data) >= size:
            self._transport.write(REPLY)
            data = data[size:]
        self._held = data


def request_size(data: bytes) -> int:
    """The bytes of the first request, 0 while its head is not whole."""
    end = data.find(HEAD_END)
    if end < 0:
        return 0
    head = data[:end].lower()
    at = head.find(LENGTH)
    if at < 0:
        return end + len(HEAD_END)
    value_end = head.find(b"\r\n", at)
    value = head[at + len(LENGTH) : value_end if value_end > 0 else end]
    return end + len(HEAD_END) + int(value)


async def main(context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    server = await loop.create_server(Answerer, "127.0.0.1", 0, backlog=4096, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await ended.wait()


def secured(certificate: str | None, key: str | None) -> ssl.SSLContext | None:
    """What is shown to clients; nothing where no certificate is given."""
    if certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench.upstream", description=__doc__)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    asked = parser.parse_args()
    uvloop.run(main(secured(asked.certificate, asked.key)))
