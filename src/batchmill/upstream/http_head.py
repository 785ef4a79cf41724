"""The head that an upstream's answers have, as it was parsed last.

Answers that come one after another mostly differ in their length alone, and in the second of
their date. A head that is the same as one that was parsed, but for the number of its
Content-Length, means the same; so it is compared and not parsed again.
"""

import sys
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_LINE_END: Final = b"\r\n"
_LENGTH: Final = b"\r\ncontent-length:"
# No answer is so long: nothing is known.
_NEVER: Final = sys.maxsize
# Where every head is another one, so many answers pass at most before one is kept again.
_LONGEST_PAUSE: Final = 1024


class UsualHead:
    """What precedes and follows the number of the body's length, in a plain answer's head.

    Serves all connections to an upstream. Where heads never come again, as where each names its
    request, it is hardly ever tried.
    """

    __slots__ = ("_after", "_before", "_bytes", "_has_served", "_left", "_pause")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._bytes = _NEVER
        self._has_served = True
        # How many answers pass before another head is kept, and how many of them are still to come.
        self._pause = self._left = 0

    def body_of(self, data: bytes) -> bytes | None:
        """The body of ``data``, where that is one whole answer with this head; else None.

        A few lengths are not recognised: 997 to 999, and so on before each power of ten.
        """
        rest = len(data) - self._bytes
        if rest <= 0:
            return None
        size = rest - len(b"%d" % rest)
        head = b"%b%d%b" % (self._before, size, self._after)
        if len(head) + size != len(data) or not data.startswith(head):
            return None
        self._has_served = True
        return data[len(head) :]

    def learn(self, data: bytes, body: bytes) -> None:
        """Keep the head of ``data``, where ``body`` is all that follows it.

        It was parsed, and was found to say nothing else than how long its body is.
        """
        if self._has_served:
            self._pause = 0
        elif self._left:
            self._left -= 1
            return
        else:
            self._pause = min(2 * self._pause + 1, _LONGEST_PAUSE)
        self._left, self._has_served, self._bytes = self._pause, False, _NEVER
        head, number = data[: len(data) - len(body)], b"%d" % len(body)
        field = head.lower().find(_LENGTH)
        start = head.find(number + _LINE_END, field)
        is_one = head.find(_HEAD_END) + len(_HEAD_END) == len(head)
        if not is_one or field < 0 or head[field + len(_LENGTH) : start].strip(b" \t"):
            return
        self._before, self._after = head[:start], head[start + len(number) :]
        self._bytes = len(self._before) + len(self._after)
