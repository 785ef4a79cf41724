"""Settings as a tree: every field by its path, values by path, the names of variables.

Paths are tuples such as ``("models", 0, "name")`` inside and ``models.0.name``
outside. Nothing here reads a source or judges a value.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from batchmill.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from batchmill.config.units import Kind

Keys = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_*-]+")


@dataclass(frozen=True, slots=True)
class Spot:
    """A field and where it stands; a list item's fields stand below ``*``."""

    path: Keys
    field: FieldInfo

    @property
    def kind(self) -> Kind:
        """What its values may be."""
        return kind_of(self.field)


def spots(model: type[BaseModel] = Settings, at: Keys = ()) -> Iterator[Spot]:
    """Every setting in order, those of list items after their list."""
    for name, field in model.model_fields.items():
        path = (*at, name)
        inner = inner_model(field)
        listed = inner is not None and field.annotation is not inner
        if inner is None or listed:
            yield Spot(path, field)
        if inner is not None:
            yield from spots(inner, (*path, "*") if listed else path)


def inner_model(field: FieldInfo) -> type[BaseModel] | None:
    """The table that the field holds, itself or as items of a list."""
    candidates = (field.annotation, *get_args(field.annotation))
    for candidate in candidates:
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def field_at(path: Keys) -> FieldInfo | None:
    """The deepest field on the way along ``path``."""
    model: type[BaseModel] | None = Settings
    found: FieldInfo | None = None
    for part in path:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model else None
        if field is None:
            break
        found, model = field, inner_model(field)
    return found


def kind_of(field: FieldInfo) -> Kind:
    """The field's ``Kind``, also where it is one half of ``… | None``."""
    options = (entry for option in get_args(field.annotation) for entry in _metadata(option))
    found = next((entry for entry in (*field.metadata, *options) if isinstance(entry, Kind)), None)
    return found or Kind("a table of settings")


def env_name(path: Keys) -> str:
    """The variable of a setting: ``BATCHMILL_SERVER__PORT``."""
    return ENV_PREFIX + ENV_DELIMITER.join(str(part) for part in path).upper()


def env_names() -> Mapping[str, Keys]:
    """Every variable that sets something. What stands in lists has none but the list's."""
    return {env_name(spot.path): spot.path for spot in spots() if "*" not in spot.path}


def dotted(path: Keys) -> str:
    """The path as people write it; odd names in quotes, as TOML has them."""
    return ".".join(_bare(str(part)) for part in path)


def leaves(value: object, at: Keys = (), *, into_lists: bool = False) -> Iterator[tuple[Keys, Any]]:
    """The values at the ends of the tables, and of lists of tables if asked."""
    if isinstance(value, Mapping) and (value or not at):
        for name, inner in value.items():
            yield from leaves(inner, (*at, str(name)), into_lists=into_lists)
    elif into_lists and _is_tables(value):
        for index, inner in enumerate(value):  # type: ignore[arg-type]
            yield from leaves(inner, (*at, index), into_lists=True)
    else:
        yield at, value


def _bare(name: str) -> str:
    return name if _BARE.fullmatch(name) else json.dumps(name)


def _is_tables(value: object) -> bool:
    return isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value)


def _metadata(option: Any) -> tuple[object, ...]:
    return getattr(option, "__metadata__", ())
