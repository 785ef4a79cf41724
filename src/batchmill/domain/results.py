"""What became of a line: judging an upstream's answer, and writing result lines.

The upstream's own bytes are spliced into the line untouched, compacted only
where they hold newlines; the answer is parsed for its usage and the shape of
an error, nothing else. Both files share one shape: ``id``, ``custom_id``,
``response``, ``error``.
"""

from typing import ClassVar

import msgspec

from batchmill.domain.batch import Halt
from batchmill.domain.envelope import UNREADABLE, decode, is_utf8, read_fields
from batchmill.domain.usage import ZERO, Usage

OK = 200

# More tokens than any answer has: a larger number is a mistake of the upstream,
# and sums of such would not fit into the columns that hold them.
_MOST_TOKENS = 2**40

_NULL = msgspec.Raw(b"null")
_ERROR = msgspec.Raw(b'"error"')

# As numbers: to look for one byte takes a tenth of the time that a search takes.
_NEWLINE, _RETURN = b"\n\r"


class _CachedDetails(msgspec.Struct, gc=False):
    cached_tokens: int | None = None


class _ReasoningDetails(msgspec.Struct, gc=False):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct, gc=False):
    """The usage of every endpoint in one: chat and embeddings above, responses below."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _CachedDetails | None = None
    completion_tokens_details: _ReasoningDetails | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _CachedDetails | None = None
    output_tokens_details: _ReasoningDetails | None = None


class _Body(msgspec.Struct, gc=False):
    usage: _Usage | None = None
    error: msgspec.Raw = _NULL
    object: msgspec.Raw = _NULL


class _LooseBody(msgspec.Struct, gc=False):
    usage: ClassVar[None] = None
    error: msgspec.Raw = _NULL
    object: msgspec.Raw = _NULL


_STRICT = msgspec.json.Decoder(_Body)
_LOOSE = msgspec.json.Decoder(_LooseBody)


class Answer(
    msgspec.Struct, frozen=True, gc=False
):  # a Struct: made once a line, at a fifth of the cost
    """A judged answer: acceptable with its usage, or at fault with the reason.

    ``body`` is a JSON object on one line, ``_unbroken``; for an answer at fault it is None
    where the bytes were not one.
    """

    status: int
    body: bytes | None
    usage: Usage = ZERO
    fault: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether the line succeeded."""
        return self.status == OK and self.fault is None


def judge(status: int, body: bytes) -> Answer:
    """Judge an upstream's whole answer; ``fault`` says what is wrong with a bad 200."""
    if status != OK:
        return Answer(status, _one_line_object(body))
    if not body.isascii():
        if not is_utf8(body):
            return Answer(OK, None, fault="an answer that is not UTF-8")
        body = _unbroken(body)
    try:
        parsed = _parse(body)
    except msgspec.ValidationError:
        return Answer(OK, None, fault="an answer that is not a JSON object")
    except UNREADABLE:
        return Answer(OK, None, fault="an answer that is not whole JSON")
    if parsed.error != _NULL or parsed.object == _ERROR:
        return Answer(OK, None, fault="status 200 with an error object")
    return Answer(OK, _one_line(body), _sum_usage(parsed.usage))


def _parse(body: bytes) -> _Body | _LooseBody:
    try:
        return _STRICT.decode(body)
    except UNREADABLE:
        return _parse_rare(body)


def _parse_rare(body: bytes) -> _Body | _LooseBody:
    """An answer whose usage has a shape of its own is still an answer; it counts no tokens."""
    try:
        return decode(_STRICT, body)
    except msgspec.ValidationError:
        return decode(_LOOSE, body)


def _sum_usage(usage: _Usage | None) -> Usage:
    if usage is None:
        return ZERO
    used_in = usage.prompt_tokens if usage.prompt_tokens is not None else usage.input_tokens
    used_out = usage.completion_tokens
    used_out = used_out if used_out is not None else usage.output_tokens
    # Mostly both are sound, which is seen without a call.
    if not (used_in and used_out and 0 < used_in <= _MOST_TOKENS and 0 < used_out <= _MOST_TOKENS):
        used_in, used_out = _sound(used_in), _sound(used_out)
    if not used_in and not used_out:
        used_in = _sound(usage.total_tokens)
    cached = usage.prompt_tokens_details or usage.input_tokens_details
    reasoning = usage.completion_tokens_details or usage.output_tokens_details
    return Usage(
        used_in,
        used_out,
        min(used_in, _sound(cached.cached_tokens)) if cached else 0,
        min(used_out, _sound(reasoning.reasoning_tokens)) if reasoning else 0,
    )


def _sound(count: int | None) -> int:
    return count if count is not None and 0 < count <= _MOST_TOKENS else 0


def _one_line(body: bytes) -> bytes:
    if _NEWLINE not in body and _RETURN not in body:
        return body.strip()
    try:
        return msgspec.json.format(body, indent=-1)
    except UNREADABLE:
        # The formatter knows no lone surrogates. Outside of strings newlines mean nothing,
        # and within them JSON allows none.
        return body.translate(None, b"\r\n").strip()


def _one_line_object(body: bytes) -> bytes | None:
    if not is_utf8(body):
        return None
    try:
        read_fields(body)
    except UNREADABLE:
        return None
    return _unbroken(_one_line(body))


def output_line(line: str, custom_id: bytes, answer: Answer, region: str = "") -> bytes:
    """The result line of a judged answer that the upstream gave with any status.

    ``line`` is the id of the line, ``custom_id`` the JSON string of the input
    as it was written there. ``region`` is named where it has a name.
    """
    name = line.encode()
    body = answer.body if answer.body is not None else _no_json_body(answer.status)
    return b"".join(
        (
            b'{"id":"',
            name,
            b'","custom_id":',
            custom_id if custom_id.isascii() else _unbroken(custom_id),
            b',"response":{"status_code":',
            b"200" if answer.status == OK else b"%d" % answer.status,
            b',"request_id":"',
            name,
            b'","region":"%b","body":' % region.encode() if region else b'","body":',
            body,
            b'},"error":null}',
        )
    )


def error_line(line: str, custom_id: bytes, *, code: str, message: str) -> bytes:
    """The result line of a request that has no answer."""
    return b'{"id":"%s","custom_id":%s,"response":null,"error":%s}' % (
        line.encode(),
        _unbroken(custom_id),
        msgspec.json.encode({"code": code, "message": message}),
    )


def _unbroken(text: bytes) -> bytes:
    """JSON without the three characters that some readers take for ends of lines.

    U+2028, U+2029 and U+0085 stand in strings alone, where their escapes mean
    the same; Python's ``splitlines`` for one cuts a result line at them. ASCII has none: a glance
    tells, where each search below costs as much as to write the line.
    """
    if b"\xe2\x80" in text:
        text = text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return text.replace(b"\xc2\x85", b"\\u0085")


def _no_json_body(status: int) -> bytes:
    message = f"The upstream answered with status {status} and a body that is not a JSON object."
    error = {"message": message, "type": "upstream_error", "param": None, "code": None}
    return msgspec.json.encode({"error": error})


EXPIRED_CODE = "batch_expired"
EXPIRED_MESSAGE = "This request could not be executed before the completion window expired."
CANCELLED_CODE = "batch_cancelled"
CANCELLED_MESSAGE = "This request was not executed because the batch was cancelled."
BUDGET_CODE = "budget_exhausted"
HALT_MESSAGES = {
    Halt.BUDGET: "This request was not executed because the batch's budget was used up.",
    Halt.ACCOUNT: "This request was not executed because the account's monthly limit was reached.",
    Halt.WORKSPACE: (
        "This request was not executed because the workspace's monthly limit was reached."
    ),
    Halt.KEY: "This request was not executed because the key's monthly limit was reached.",
}
UPSTREAM_CODE = "upstream_error"
