"""Answers as servers give them, good and bad, each with what is to be made of it."""

import gzip
import zlib
from dataclasses import dataclass

from batchmill.ports import FaultKind, Reply

CAP = 1000
BODY = b'{"ok": true, "text": "\xc3\xa9"}'


@dataclass(frozen=True)
class Canned:
    """An answer's bytes, and whether the server closes behind them."""

    data: bytes
    outcome: Reply | FaultKind
    ends: bool = False


def _message(*fields: bytes, body: bytes = BODY, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"".join(b"%b\r\n" % line for line in (start, *fields)) + b"\r\n" + body


def _sized(*fields: bytes, body: bytes = BODY, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return _message(*fields, b"Content-Length: %d" % len(body), body=body, start=start)


def _chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def _raw_deflate(body: bytes) -> bytes:
    return zlib.compress(body, wbits=-zlib.MAX_WBITS)


PACKED = gzip.compress(BODY, mtime=0)
IN_CHUNKS = b"Transfer-Encoding: chunked"
GZIP = b"Content-Encoding: gzip"
CLOSE = b"Connection: close"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = Reply(200, BODY)

# Read whole, and the connection serves again.
KEPT = {
    "sized": Canned(_sized(), OK),
    "empty": Canned(_sized(body=b""), Reply(200, b"")),
    "chunked": Canned(_message(IN_CHUNKS, body=_chunks(BODY[:1], BODY[1:])), OK),
    "chunk extension": Canned(
        _message(IN_CHUNKS, body=b'%x;a="b c";d\r\n%b\r\n0\r\n\r\n' % (len(BODY), BODY)), OK
    ),
    "trailers": Canned(
        _message(
            IN_CHUNKS,
            body=_chunks(BODY, end=b"0\r\nContent-Encoding: gzip\r\nRetry-After: 9\r\n\r\n"),
        ),
        OK,
    ),
    "interim": Canned(INTERIM + _sized(), OK),
    "interims": Canned(
        INTERIM * 2
        + b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nRetry-After: 7\r\n"
        + b"Content-Encoding: br\r\n\r\n"
        + _sized(),
        OK,
    ),
    "gzip": Canned(_sized(GZIP, body=PACKED), OK),
    "gzip members": Canned(
        _sized(GZIP, body=gzip.compress(BODY[:5], mtime=0) + gzip.compress(BODY[5:], mtime=0)), OK
    ),
    "gzip in chunks": Canned(_message(IN_CHUNKS, GZIP, body=_chunks(PACKED[:9], PACKED[9:])), OK),
    "deflate": Canned(_sized(b"content-encoding: Deflate", body=zlib.compress(BODY)), OK),
    "raw deflate": Canned(_sized(b"Content-Encoding: deflate", body=_raw_deflate(BODY)), OK),
    "no content": Canned(_message(body=b"", start=b"HTTP/1.1 204 No"), Reply(204, b"")),
    "not modified": Canned(
        _message(b"Content-Length: 9", body=b"", start=b"HTTP/1.1 304 No"), Reply(304, b"")
    ),
    "refused": Canned(
        _sized(b"Retry-After: 3", start=b"HTTP/1.1 429 Slow down"), Reply(429, BODY, 3.0)
    ),
    "old but kept": Canned(_sized(b"Connection: keep-alive", start=b"HTTP/1.0 200 OK"), OK),
    "odd case": Canned(_message(b"cOnTeNt-LeNgTh:%d  " % len(BODY)), OK),
    "empty fields": Canned(_sized(b"X:", b"Retry-After:", b"Content-Encoding:"), OK),
    "no reason": Canned(_sized(start=b"HTTP/1.1 200"), OK),
    "blank lines first": Canned(b"\r\n\r\n" + _sized(), OK),
    "at the cap": Canned(_sized(body=b"x" * CAP), Reply(200, b"x" * CAP)),
}

# Read whole, and the connection is of no more use.
LAST = {
    "announced close": Canned(_sized(CLOSE), OK),
    "until close": Canned(_message(), OK, ends=True),
    "until close, empty": Canned(_message(body=b""), Reply(200, b""), ends=True),
    "until close, gzip": Canned(_message(GZIP, body=PACKED), OK, ends=True),
    "old": Canned(_message(start=b"HTTP/1.0 200 OK"), OK, ends=True),
    "old and sized": Canned(_sized(start=b"HTTP/1.0 200 OK"), OK),
    "two in one": Canned(_sized() + _sized(body=b"another's"), OK),
    "too long by one": Canned(_sized() + b"}", OK),
    "then rubbish": Canned(_message(IN_CHUNKS, body=_chunks(BODY) + b"\x00\xff"), OK),
}

_GARBLED = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n",
    "a tls alert": b"\x15\x03\x01\x00\x02\x02F",
    "http/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "no number as status": _sized(start=b"HTTP/1.1 2x0 OK"),
    "status of no digits": _sized(start=b"HTTP/1.1 OK"),
    "status 0": _sized(start=b"HTTP/1.1 000 OK"),
    "status 99": _sized(start=b"HTTP/1.1 099 OK"),
    "four digits": _sized(start=b"HTTP/1.1 2000 OK"),
    "length below zero": _message(b"Content-Length: -1"),
    "signed length": _message(b"Content-Length: +26"),
    "length in words": _message(b"Content-Length: many"),
    "no length after all": _message(b"Content-Length:"),
    "two lengths": _message(b"Content-Length: 1", b"Content-Length: 2"),
    "a list of lengths": _message(b"Content-Length: 26, 26"),
    "a huge length": _message(b"Content-Length: 99999999999999999999999"),
    "length and chunks": _sized(IN_CHUNKS),
    "chunks and length": _message(b"Content-Length: 3", IN_CHUNKS, body=_chunks(BODY)),
    "a chunk of no size": _message(IN_CHUNKS, body=b"zz\r\n"),
    "a chunk below zero": _message(IN_CHUNKS, body=b"-1\r\n"),
    "a huge chunk": _message(IN_CHUNKS, body=b"fffffffffffffffff\r\n"),
    "a chunk that is longer": _message(IN_CHUNKS, body=b"2\r\nabc\r\n0\r\n\r\n"),
    "a length among trailers": _message(
        IN_CHUNKS, body=_chunks(BODY, end=b"0\r\nContent-Length: 1\r\n\r\n")
    ),
    "an unknown coding": _message(b"Transfer-Encoding: gzip"),
    "an unknown coding in chunks": _message(
        b"Transfer-Encoding: gzip, chunked", body=_chunks(PACKED)
    ),
    "codings in two fields": _message(b"Transfer-Encoding: gzip", IN_CHUNKS, body=_chunks(PACKED)),
    "an unknown packing": _sized(b"Content-Encoding: br"),
    "packed twice": _sized(b"Content-Encoding: gzip, gzip", body=gzip.compress(PACKED)),
    "packed twice in two fields": _sized(GZIP, GZIP, body=gzip.compress(PACKED)),
    "packed and not packed": _sized(GZIP, b"Content-Encoding: identity", body=PACKED),
    "packed and cut off": _sized(GZIP, body=PACKED[:-1]),
    "packed and spoilt": _sized(GZIP, body=PACKED[:-8] + b"\0" * 8),
    "not packed at all": _sized(GZIP),
    "switching": _message(b"Connection: upgrade", b"Upgrade: h2c", start=b"HTTP/1.1 101 Switching"),
    "a zero byte": _sized(b"X: a\0b"),
    "a space before the colon": _message(b"Content-Length : 26"),
    "a folded field": _message(b"X: a\r\n b", b"Content-Length: 26"),
    "no colon": _message(b"Content-Length 26"),
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
}
_LARGE = {
    "announced": _message(b"Content-Length: %d" % (CAP + 1), body=b""),
    "sized": _sized(body=b"x" * (CAP + 1)),
    "in chunks": _message(IN_CHUNKS, body=_chunks(b"x" * (CAP + 1))),
    "packed": _sized(GZIP, body=gzip.compress(b"x" * (CAP + 1), mtime=0)),
    "until close": _message(body=b"x" * (CAP + 1)),
}
BAD = {
    **{name: Canned(data, FaultKind.GARBLED) for name, data in _GARBLED.items()},
    "status 99, until close": Canned(
        _message(start=b"HTTP/1.1 099 OK"), FaultKind.GARBLED, ends=True
    ),
    "packed and cut off, until close": Canned(
        _message(GZIP, body=PACKED[:-1]), FaultKind.GARBLED, ends=True
    ),
    **{f"too large, {name}": Canned(data, FaultKind.TOO_LARGE) for name, data in _LARGE.items()},
}
