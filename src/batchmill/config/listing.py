"""The settings in force as a list for people and scripts, secrets masked."""

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from batchmill.config.loading import Loaded
from batchmill.config.tree import Keys, dotted, field_at, kind_of, leaves


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting: its path, its value plain and as people write it, where it came from."""

    name: str
    value: JsonValue
    text: str
    origin: str


def list_settings(loaded: Loaded) -> Iterator[Entry]:
    """Every setting in force, in the order of the reference."""
    for keys, value in leaves(loaded.settings.model_dump(mode="json"), into_lists=True):
        name = dotted(keys)
        yield Entry(name, value, _text(keys, value), loaded.origins[name])


def _text(keys: Keys, value: JsonValue) -> str:
    field = field_at(keys)
    if value is None or value == [] or field is None:
        return "none"
    return kind_of(field).show(value)
