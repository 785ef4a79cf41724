"""What ``metadata`` of a batch may hold: pure rules, a row of numbers per profile.

Values are strings by the time they get here; the door sees to that.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from batchmill.domain.errors import InvalidRequest
from batchmill.domain.limits import METADATA, MetadataLimits, Profile
from batchmill.service.refusals import shorten

NAME = "ds_name"
DESCRIPTION = "ds_description"
CALLBACK = "ds_batch_finish_callback"


def check_metadata(metadata: Mapping[str, str], profile: Profile) -> None:
    """Raise InvalidRequest for what the profile does not allow in metadata."""
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
    if profile is Profile.QWEN and CALLBACK in metadata:
        _check_callback(metadata[CALLBACK])


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


def _check_callback(url: str) -> None:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url or not url.isprintable() or " " in url:
        param = f"metadata.{CALLBACK}"
        message = f"Invalid '{param}': expected an http or https URL."
        raise InvalidRequest(message, param=param, code="invalid_value")
