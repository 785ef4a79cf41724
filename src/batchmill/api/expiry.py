"""The two bracketed form fields that say how long a file lives."""

from collections.abc import Mapping

from batchmill.domain.errors import InvalidRequest
from batchmill.service.refusals import invalid_value, missing_parameter, shorten

_ANCHOR = "expires_after[anchor]"
_SECONDS = "expires_after[seconds]"


def read_expiry(fields: Mapping[str, str]) -> int | None:
    """Seconds of life, None where the form says nothing; raises InvalidRequest."""
    given = [name for name in (_ANCHOR, _SECONDS) if name in fields]
    if not given:
        return None
    if len(given) == 1:
        raise missing_parameter(_SECONDS if given == [_ANCHOR] else _ANCHOR)
    if fields[_ANCHOR] != "created_at":
        raise invalid_value(fields[_ANCHOR], ["created_at"], _ANCHOR)
    seconds = fields[_SECONDS]
    if not (seconds.isascii() and seconds.isdecimal() and len(seconds) < 19):
        message = (
            f"Invalid type for '{_SECONDS}': expected an integer, "
            f"but got '{shorten(seconds)}' instead."
        )
        raise InvalidRequest(message, param=_SECONDS, code="invalid_type")
    return int(seconds)
