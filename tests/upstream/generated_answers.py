"""Answers made by chance: such as servers may give, and such as they must not."""

import gzip
import zlib
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from random import Random
from typing import Any, NamedTuple, cast

from canned_answers import BAD, KEPT, LAST, Canned

from batchmill.ports import Reply

STATUSES = (200, 200, 200, 201, 400, 401, 404, 408, 413, 429, 500, 503, 599)
FIELDS = (
    b"Server: x",
    b"X-Empty:",
    b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
    b"Set-Cookie: a=b; c",
    b"Vary:   Accept \t",
    b"X-Octets: \xe9\xff",
    b"Keep-Alive: timeout=5",
    b"Content-Type: application/json",
)
INTERIMS = (
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nRetry-After: 5\r\n\r\n",
)
TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b" ",
    b"\t",
    b":",
    b",",
    b";",
    b"-",
    b"0\r\n\r\n",
    b"1\r\nx\r\n",
    b"ffffffffffffffff",
    b"18446744073709551617",
    b"HTTP/1.1 ",
    b"HTTP/1.1 200 OK\r\n",
    b"HTTP/1.1 101 X\r\n\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Content-Encoding: deflate\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"Retry-After: 1\r\n",
    *INTERIMS,
)
_SEEDS = [canned.data for canned in (*KEPT.values(), *LAST.values(), *BAD.values())]


def make_answer(chance: Random, body: bytes | None = None) -> Canned:
    """A right answer in any of the ways in which one can be written."""
    if body is None:
        body = chance.randbytes(chance.choice((0, 1, 2, 16, 100, 700)))
    status = chance.choice(STATUSES)
    fields = chance.sample(FIELDS, chance.randrange(len(FIELDS)))
    packed = _pack(chance, body, fields)
    framing = chance.choice(("length", "chunks", "close"))
    if framing == "length":
        fields.append(b"Content-Length: %d" % len(packed))
    elif framing == "chunks":
        fields.append(b"Transfer-Encoding: chunked")
        packed = _cut_up(chance, packed)
    chance.shuffle(fields)
    start = b"HTTP/1.1 %d %b" % (status, chance.choice((b"", b"OK", b"So so")))
    interims = b"".join(chance.choices(INTERIMS, k=chance.choice((0, 0, 0, 1, 3))))
    head = b"".join(b"%b\r\n" % line for line in (start, *fields))
    return Canned(interims + head + b"\r\n" + packed, Reply(status, body), framing == "close")


def _pack(chance: Random, body: bytes, fields: list[bytes]) -> bytes:
    way = chance.choice(("", "", "identity", "gzip", "x-gzip", "members", "deflate", "raw"))
    if not way:
        return body
    name = {"members": "gzip", "raw": "deflate"}.get(way, way)
    fields.append(b"Content-Encoding: " + chance.choice((name, name.upper())).encode())
    if way == "identity":
        return body
    if way == "members":
        at = chance.randrange(len(body) + 1)
        return gzip.compress(body[:at], mtime=0) + gzip.compress(body[at:], mtime=0)
    if way in ("deflate", "raw"):
        return zlib.compress(body, wbits=zlib.MAX_WBITS if way == "deflate" else -zlib.MAX_WBITS)
    return gzip.compress(body, mtime=0)


def _cut_up(chance: Random, body: bytes) -> bytes:
    chunks = []
    while body:
        size = chance.randint(1, len(body))
        form = chance.choice((b"%x", b"%X", b"00%x", b"%x;a", b'%x;a="b"'))
        chunks.append((form % size) + b"\r\n" + body[:size] + b"\r\n")
        body = body[size:]
    trailers = chance.choice((b"", b"", b"X-Sum: 1\r\n", b"Retry-After: 4\r\n"))
    return b"".join(chunks) + b"0\r\n" + trailers + b"\r\n"


def spoil(chance: Random, data: bytes) -> bytes:
    """The bytes with a few faults in them."""
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(spoilt) + 1)
        to = min(len(spoilt), at + chance.choice((0, 1, 1, 2, 8, 40)))
        way = chance.randrange(5)
        if way == 0:
            spoilt[at:to] = b""
        elif way == 1:
            spoilt[at:at] = spoilt[at:to]
        elif way == 2:
            spoilt[at:at] = chance.choice(TOKENS)
        elif way == 3:
            spoilt[at:to] = chance.randbytes(to - at)
        else:
            other = chance.choice(_SEEDS)
            begin = chance.randrange(len(other))
            spoilt[at:to] = other[begin : begin + chance.randrange(60)]
    return bytes(spoilt)


def make_spoilt(chance: Random) -> bytes:
    """Something that was an answer once."""
    if chance.random() < 0.5:
        return spoil(chance, make_answer(chance).data)
    return spoil(chance, chance.choice(_SEEDS))


def cut(chance: Random, data: bytes) -> list[bytes]:
    """The bytes in pieces."""
    pieces = []
    while data:
        size = chance.choice((1, 1, 2, 7, 50, len(data)))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


class _Wire(BytesIO):
    """Bytes that the standard library takes for a socket, and does not close."""

    def makefile(self, _mode: str) -> "_Wire":
        return self

    def close(self) -> None:
        """Stay readable: what follows is the next message's."""


class Book(NamedTuple):
    """An answer with its body as it was sent, and how many bytes all of it is."""

    status: int
    body: bytes
    packing: bytes
    size: int


def read_by_the_book(data: bytes) -> Book | None:
    """What the standard library's client makes of the bytes; None where that is nothing."""
    wire = _Wire(data)
    try:
        while True:
            response = HTTPResponse(cast("Any", wire), method="POST")
            response.begin()
            if response.status >= 200:
                break
        body = response.read()
    except (HTTPException, OSError, OverflowError, ValueError):
        return None
    coding = response.getheader("Transfer-Encoding", "")
    if coding != coding.strip():
        return None  # which it takes for another one
    packing = response.getheader("Content-Encoding", "").encode("latin-1")
    return Book(response.status, body, packing, wire.tell())
