"""One answer, from the bytes of a connection: what the parser's callbacks add up to.

Knows nothing of sockets or time-outs, so any cutting of the bytes can be tried
on it. An ``AnswerReader`` serves one connection, answer after answer.
"""

import time
from collections.abc import Callable

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from batchmill.domain.results import OK
from batchmill.ports import FaultKind, Reply, TransportFault
from batchmill.upstream.http_fields import Oversized, Unreadable, read_retry_after, unpack
from batchmill.upstream.http_head import UsualHead

FRAMING_ALLOWANCE = 64 * 1024
# A chunk of one byte costs five more; servers that pad beyond this are not answering.
FRAMING_PER_BODY_BYTE = 6

_LENGTH = b"content-length"
_PACKING = b"content-encoding"
_CODING = b"transfer-encoding"
_KEPT = frozenset({_LENGTH, _PACKING, _CODING, b"retry-after", b"retry-after-ms"})
# Most other fields are told by this alone: a server sends several with each answer.
_KEPT_LENGTHS = frozenset(map(len, _KEPT))


class AnswerReader:
    """Turns received bytes into a Reply, or into the reason why there is none.

    ``usual`` is shared by the readers of one upstream.
    """

    __slots__ = (
        "_cap",
        "_fields",
        "_has_head",
        "_is_until_close",
        "_outcome",
        "_parser",
        "_parts",
        "_received",
        "_size",
        "_usual",
        "_wall_clock",
        "is_reusable",
    )

    def __init__(
        self,
        cap: int,
        wall_clock: Callable[[], float] = time.time,
        usual: UsualHead | None = None,
    ) -> None:
        self._cap = cap
        self._wall_clock = wall_clock
        self._usual = usual or UsualHead()
        self._parser = HttpResponseParser(self)
        self._fields: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self.is_reusable = False
        self._forget()

    @property
    def has_begun(self) -> bool:
        """Whether anything of an unfinished answer has come."""
        return self._received > 0

    def feed(self, data: bytes) -> Reply | TransportFault | None:
        """Take received bytes; the answer, or why there is none, as soon as one of them is known.

        Then ``is_reusable`` says whether the connection may serve again, for the next answer.
        """
        is_first = not self._received
        if is_first:
            body = self._usual.body_of(data)
            if body is not None and len(body) <= self._cap:
                # The parser stands where this answer would have left it: before the next one.
                self.is_reusable = True
                return Reply(OK, body)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            # Bytes behind a whole answer cannot spoil it, only the connection.
            self.is_reusable = False
            self._fail(FaultKind.GARBLED, "the answer is not HTTP/1")
        if self._outcome is None:
            self._received += len(data)
            self._check_framing()
        elif is_first and self._usual.wants_another():
            self._remember(data)
        return self._told()

    def end(self) -> Reply | TransportFault | None:
        """The connection has ended; what that says of an answer that has no length."""
        if not (self.has_begun and self._has_head and self._is_until_close):
            return None
        self._conclude(self._parser.get_status_code(), is_reusable=False)
        return self._told()

    def _told(self) -> Reply | TransportFault | None:
        """The outcome, if there is one: then nothing of it is kept, for it may be large."""
        outcome = self._outcome
        if outcome is not None:
            self._forget()
        return outcome

    def _forget(self) -> None:
        self._outcome: Reply | TransportFault | None = None
        self._received = self._size = 0
        self._has_head = self._is_until_close = False
        self._parts.clear()
        self._fields.clear()

    def _remember(self, data: bytes) -> None:
        """Keep a head that says nothing but that the answer is a good one, and how long it is."""
        reply, is_plain = self._outcome, self._fields.keys() == {_LENGTH}
        if isinstance(reply, Reply) and reply.status == OK and self.is_reusable and is_plain:
            self._usual.learn(data, reply.body)

    def _fail(self, kind: FaultKind, why: str) -> None:
        """There is no answer, unless there is one already: the first thing that is known holds."""
        if self._outcome is None:
            self._outcome, self.is_reusable = TransportFault(kind, why), False

    def _check_framing(self) -> None:
        framing = self._received - self._size
        if framing > FRAMING_ALLOWANCE + FRAMING_PER_BODY_BYTE * self._size:
            self._fail(FaultKind.GARBLED, "the answer's headers do not end")

    def _refuse_size(self) -> None:
        self._parts.clear()
        self._fail(FaultKind.TOO_LARGE, f"the answer is larger than {self._cap} bytes")

    # --- Called by the parser. ---

    def on_message_begin(self) -> None:
        """A message starts; behind a whole answer that is one that nobody asked for."""
        if self._outcome is not None:
            self.is_reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the few fields that matter; those behind the body mean nothing for it."""
        if len(name) not in _KEPT_LENGTHS or self._has_head:
            return
        name = name.lower()
        if name in _KEPT:
            fields = self._fields
            fields[name] = b"%b, %b" % (fields[name], value) if name in fields else value

    def on_headers_complete(self) -> None:
        """The head is whole: an answer that announces too much ends here."""
        fields = self._fields
        length = fields.get(_LENGTH)
        coding = fields.get(_CODING)
        self._has_head = True
        self._is_until_close = length is None and coding is None
        if coding is not None and coding.strip().lower() != b"chunked":
            self._fail(FaultKind.GARBLED, "the answer's transfer coding is unknown")
        if length is not None and int(length) > self._cap:
            self._refuse_size()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._size += len(data)
        if self._size <= self._cap:
            self._parts.append(data)
        else:
            self._refuse_size()

    def on_message_complete(self) -> None:
        """A message is whole: the answer, or an interim one such as 100 Continue."""
        if self._outcome is not None:
            return
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._has_head = False
            self._fields.clear()
        else:
            self._conclude(status, is_reusable=self._parser.should_keep_alive())

    def _conclude(self, status: int, *, is_reusable: bool) -> None:
        if status < 100:
            self._fail(FaultKind.GARBLED, "the answer's status is none")
            return
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        fields = self._fields
        try:
            if _PACKING in fields:
                body = unpack(body, fields[_PACKING], self._cap)
        except Oversized:
            self._refuse_size()
            return
        except Unreadable:
            self._fail(FaultKind.GARBLED, "the answer's content encoding is unknown or broken")
            return
        self.is_reusable = is_reusable
        wait = None
        if b"retry-after" in fields or b"retry-after-ms" in fields:
            wait = read_retry_after(fields, self._wall_clock())
        self._outcome = Reply(status, body, wait)
