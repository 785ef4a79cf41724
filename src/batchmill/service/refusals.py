"""Refusals that several use-cases share, worded once.

The wordings follow what OpenAI's clients and their users already know. What a
caller wrote is quoted shortened, so that no message grows with its input.
"""

from collections.abc import Sequence

from batchmill.domain.errors import InvalidRequest, QuotaExceeded, TooLarge
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import MB

_QUOTED_CHARS = 100
_MAX_ID_CHARS = 2048


def shorten(value: object) -> str:
    """The value as text for a message, at most about 100 characters of it."""
    text = str(value)
    return text if len(text) <= _QUOTED_CHARS else text[:_QUOTED_CHARS] + "…"


def invalid_value(value: object, supported: Sequence[str], param: str) -> InvalidRequest:
    """The value is none of those that ``param`` may have."""
    names = [f"'{name}'" for name in supported]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])}, and {names[-1]}"
    message = f"Invalid value: '{shorten(value)}'. Supported values are: {listed}."
    return InvalidRequest(message, param=param, code="invalid_value")


def require_input(file: File) -> None:
    """Raise InvalidRequest unless the file may be the input of a batch."""
    if file.purpose is not Purpose.BATCH:
        message = (
            f"File '{shorten(file.id)}' has the purpose '{file.purpose}', "
            "but the input of a batch must have the purpose 'batch'."
        )
        raise InvalidRequest(message, param="input_file_id", code="invalid_value")


def missing_parameter(param: str) -> InvalidRequest:
    """A required field is not there."""
    message = f"Missing required parameter: '{param}'."
    return InvalidRequest(message, param=param, code="missing_required_parameter")


def too_large(size_limit: int, param: str | None = None) -> TooLarge:
    """More bytes came than ``size_limit``."""
    shown = f"{size_limit // MB} MB" if size_limit % MB == 0 else f"{size_limit} bytes"
    return TooLarge(f"File is too large. At most {shown} are accepted.", param=param)


def quota_reached(of: str) -> QuotaExceeded:
    """The account's files or bytes are used up; ``of`` is what ``QuotaReached`` says."""
    noun = "number" if of == "files" else "capacity"
    message = f"Upload file {noun} exceed limit. Delete files that are no longer needed."
    return QuotaExceeded(message, code="file_quota_exceeded")


def require_within(value: int, *, low: int, high: int, param: str) -> None:
    """Raise InvalidRequest unless ``low <= value <= high``."""
    if value < low:
        bound, sign, code = "below minimum", f">= {low}", "integer_below_min_value"
    elif value > high:
        bound, sign, code = "above maximum", f"<= {high}", "integer_above_max_value"
    else:
        return
    message = (
        f"Invalid '{param}': integer {bound} value. "
        f"Expected a value {sign}, but got {shorten(value)} instead."
    )
    raise InvalidRequest(message, param=param, code=code)


def require_text(value: str, *, low: int, high: int, param: str) -> None:
    """Raise InvalidRequest unless the text has ``low`` to ``high`` characters and no NUL."""
    if not low <= len(value) <= high:
        message = (
            f"Invalid '{param}': expected a string of {low} to {high} characters, "
            f"but got one of {len(value)}."
        )
        raise InvalidRequest(message, param=param, code="invalid_string_length")
    if "\0" in value:
        message = f"Invalid '{param}': the string holds a NUL character."
        raise InvalidRequest(message, param=param, code="invalid_string")


def is_plausible_id(text: str) -> bool:
    """Whether ``text`` could be an id at all; databases need not be asked about the rest."""
    return 0 < len(text) <= _MAX_ID_CHARS and text.isprintable()
