"""What ``metadata`` of a batch may hold: pure rules, a row of numbers per profile.

Values are strings by the time they get here; the door sees to that.
"""

from collections.abc import Mapping

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import METADATA, MetadataLimits, Profile
from batchmill.domain.receiver import find_url_fault
from batchmill.domain.webhook import CALLBACK_KEY
from batchmill.service.refusals import shorten

NAME = "ds_name"
DESCRIPTION = "ds_description"


def check_metadata(
    metadata: Mapping[str, str], profile: Profile, *, allow_private: bool = True
) -> None:
    """Raise InvalidRequest for what the profile does not allow in metadata.

    ``allow_private`` is for the callback: whether its URL may name a private address.
    """
    limits = METADATA[profile]
    if limits.max_pairs is not None and len(metadata) > limits.max_pairs:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most "
            f"{limits.max_pairs} properties, but got one with {len(metadata)}."
        )
        raise InvalidRequest(message, param="metadata", code="object_above_max_properties")
    for key, value in metadata.items():
        _check_length(key, limits.max_key_chars, param="metadata", what="key")
        _check_length(value, _max_value(key, limits), param=f"metadata.{shorten(key)}")
    if profile is Profile.QWEN and CALLBACK_KEY in metadata:
        _check_callback(metadata[CALLBACK_KEY], allow_private)


def _max_value(key: str, limits: MetadataLimits) -> int | None:
    reserved = {NAME: limits.max_name_chars, DESCRIPTION: limits.max_description_chars}
    own = reserved.get(key)
    return own if own is not None else limits.max_value_chars


def _check_length(text: str, most: int | None, *, param: str, what: str = "string") -> None:
    if "\0" in text:
        message = f"Invalid '{param}': a {what} holds a NUL character."
        raise InvalidRequest(message, param=param, code="invalid_string")
    if most is not None and len(text) > most:
        message = (
            f"Invalid '{param}': {what} too long. Expected a {what} with maximum length {most}, "
            f"but got one with length {len(text)} instead."
        )
        raise InvalidRequest(message, param=param, code="string_above_max_length")


def _check_callback(url: str, allow_private: bool) -> None:
    fault = find_url_fault(url, allow_private=allow_private)
    if fault is not None:
        param = f"metadata.{CALLBACK_KEY}"
        raise InvalidRequest(f"Invalid '{param}': {fault}.", param=param, code="invalid_value")
