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
# Where every head is another one, so many answers pass at most before one is kept again: to keep
# and to compare one that never comes again takes half as long as to parse it.
_LONGEST_PAUSE: Final = 1024


class UsualHead:
    """What precedes and follows the number of the body's length, in a plain answer's head.

    Serves all connections to an upstream. Where heads never come again, as where each names its
    request, one is kept ever more rarely.
    """

    __slots__ = ("_after", "_before", "_bytes", "_is_unproven", "_left", "_pause")

    def __init__(self) -> None:
        self._before = self._after = b""
        self._bytes = _NEVER
        # Whether what is kept has not come again yet.
        self._is_unproven = False
        # How many answers pass after a head that did not come again; how many of them are to come.
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
        self._is_unproven, self._pause = False, 0
        return data[len(head) :]

    def wants_another(self) -> bool:
        """Whether to ``learn`` of the answer that came, which had another head."""
        if self._left:
            self._left -= 1
            return False
        if self._is_unproven:
            self._pause = self._left = min(2 * self._pause + 1, _LONGEST_PAUSE)
            self._is_unproven, self._bytes = False, _NEVER
            return False
        return True

    def learn(self, data: bytes, body: bytes) -> None:
        """Keep the head of ``data``, where ``body`` is all that follows it.

        It was parsed, and was found to say nothing else than how long its body is.
        """
        head, number = data[: len(data) - len(body)], b"%d" % len(body)
        field = head.lower().find(_LENGTH)
        start = head.find(number + _LINE_END, field)
        is_one = head.find(_HEAD_END) + len(_HEAD_END) == len(head)
        if not is_one or field < 0 or head[field + len(_LENGTH) : start].strip(b" \t"):
            return
        self._before, self._after = head[:start], head[start + len(number) :]
        self._bytes, self._is_unproven = len(self._before) + len(self._after), True
