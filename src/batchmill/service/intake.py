"""What a stream of bytes must be to become a batch input file.

Only what can never be one is refused here: too large, empty, not UTF-8, a
first line that is not JSON. Every other fault is found when a batch is
validated. No more than one line is kept in memory.
"""

import codecs

import msgspec

from batchmill.domain.envelope import decode
from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import Limits
from batchmill.service.refusals import too_large

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_ANYTHING = msgspec.json.Decoder(msgspec.Raw)


class Intake:
    """Checks the blocks of one file, in order; each method raises what refuses it.

    ``size`` is how many bytes came so far.
    """

    def __init__(self, limits: Limits) -> None:
        self._max_bytes = limits.max_file_bytes
        self._max_line_bytes = limits.max_line_bytes
        self.size = 0
        self._tail = b""
        self._head: bytearray | None = bytearray()
        self._may_have_bom = True

    def feed(self, block: bytes) -> None:
        """Check the next block; raises TooLarge and InvalidRequest."""
        self.size += len(block)
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        self._check_text(block)
        if self._head is not None:
            self._head += block
            self._check_head(self._head, is_whole=False)

    def finish(self) -> None:
        """Check what only the end can tell; raises InvalidRequest."""
        if self._tail:
            raise _refusal(f"It is not UTF-8: byte {self.size} ends it within a character.")
        if self._head is not None:
            self._check_head(self._head, is_whole=True)
        if self._head is not None:
            raise _refusal("The file is empty.")

    def _check_text(self, block: bytes) -> None:
        if not self._tail and block.isascii():
            return  # most blocks are, and seeing it is six times as fast as decoding
        data = self._tail + block if self._tail else block
        try:
            _, used = codecs.utf_8_decode(data, "strict", False)
        except UnicodeDecodeError as error:
            place = self.size - len(data) + error.start + 1
            raise _refusal(f"It is not UTF-8: byte {place} does not belong.") from None
        self._tail = data[used:]

    def _check_head(self, head: bytearray, *, is_whole: bool) -> None:
        """Judge the first line with content once it is whole, and forget it then."""
        if self._may_have_bom and head.startswith(_BOM):
            del head[: len(_BOM)]
            self._may_have_bom = False
        blanks = len(head) - len(head.lstrip(_BLANKS))
        if blanks:
            del head[:blanks]
            self._may_have_bom = False
        end = head.find(b"\n")
        if end < 0 and is_whole:
            end = len(head)
        if len(head if end < 0 else head[:end]) > self._max_line_bytes:
            self._head = None  # too long a line; validating a batch says so
        elif end > 0:
            _judge(bytes(head[:end]))
            self._head = None


def _judge(line: bytes) -> None:
    try:
        decode(_ANYTHING, line)
    except RecursionError:
        return  # nested deeper than the decoder goes; validating a batch says so
    except msgspec.DecodeError:
        raise _refusal("Its first line is not JSON.") from None


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid file format for Batch API. Must be .jsonl. {reason}")
