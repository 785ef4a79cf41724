"""From sources to settings: flags over environment over file over defaults.

The first thing that is wrong becomes a ConfigError of one sentence that names
the setting, its value unless it is secret, where it came from, and what it may
be. No raw value of a source gets into an exception any other way.
"""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from batchmill.config.checks import UPSTREAM_SECRETS, Finding, find_faults, find_key_faults
from batchmill.config.settings import DataSettings, ModelSettings, Settings, UpstreamSettings
from batchmill.config.sources import (
    Layer,
    place,
    read_environment,
    read_file,
    read_flags,
)
from batchmill.config.tree import Keys, dotted, field_at, inner_model, kind_of, leaves, spots
from batchmill.domain.errors import ConfigError

DEFAULT = "default"
_NAMED_SECRETS = frozenset({"api_key", "database", "proxy_auth"})
_OPTIONS = ("data", "blob_options")
_NEVER_SHOWN = frozenset({*_NAMED_SECRETS, *(f"{name}_env" for name in _NAMED_SECRETS)}) | {
    "blob_options"
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force, and where each came from, by dotted path."""

    settings: Settings
    origins: Mapping[str, str]


def load_settings(
    *, file: Path | None, env: Mapping[str, str], flags: Mapping[str, object]
) -> Loaded:
    """Read, merge and check everything; keys named by ``…_env`` are read from ``env``.

    ``flags`` maps dotted paths to values, None meaning not given. Raises ConfigError.
    """
    layers = [read_environment(env), read_flags(flags)]
    tree, origins = _merge([read_file(file), *layers] if file else layers)
    settings = _validated(tree, origins)
    _refuse(settings, (*find_faults(settings), *find_key_faults(settings, env)), origins)
    settings = _with_keys(settings, env)
    return Loaded(settings, MappingProxyType(_origins_in_force(settings, origins)))


def with_models(settings: Settings, models: Sequence[ModelSettings]) -> Settings:
    """The same settings with these models instead of their own; raises ConfigError."""
    changed = settings.model_copy(update={"models": tuple(models)})
    _refuse(changed, find_faults(changed), {})
    return changed


def dump_settings(settings: Settings) -> bytes:
    """JSON with the secrets in it, for a child process's pipe and nothing else.

    What nobody set stays so: some settings mean another thing by default.
    """
    return settings.model_dump_json(context={"secrets": True}, exclude_unset=True).encode()


def restore_settings(data: bytes) -> Settings:
    """The settings that ``dump_settings`` wrote."""
    return Settings(**json.loads(data))


def dump_without_secrets(settings: Settings) -> bytes:
    """JSON without what is in the environment, for machines that have it in theirs."""
    tree = settings.model_dump(mode="json", context={"secrets": True}, exclude_unset=True)
    for model in tree.get("models", ()):
        for upstream in model.get("upstreams", ()):
            for name in UPSTREAM_SECRETS:
                upstream.pop(name, None)
    if settings.data.database_env is not None:
        tree["data"].pop("database", None)
    return json.dumps(tree).encode()


def restore_with_secrets(data: bytes, env: Mapping[str, str]) -> Settings:
    """The settings that ``dump_without_secrets`` wrote, completed from ``env``.

    Raises ConfigError where a variable is missing.
    """
    settings = restore_settings(data)
    _refuse(settings, find_key_faults(settings, env), {})
    return _with_keys(settings, env)


def _merge(layers: Iterable[Layer]) -> tuple[dict[str, Any], dict[Keys, str]]:
    """Later layers win, setting by setting; a list is taken whole."""
    tree: dict[str, Any] = {}
    origins: dict[Keys, str] = {}
    for layer in layers:
        for keys, value in leaves(layer.tree):
            place(tree, keys, value)
            for stale in [old for old in origins if old[: len(keys)] == keys]:
                del origins[stale]
            for inner, _ in leaves(value, keys, into_lists=True):
                origins[inner] = layer.name(inner)
    return tree, origins


def _validated(tree: dict[str, Any], origins: Mapping[Keys, str]) -> Settings:
    unknown = next((keys for keys in tree if keys not in Settings.model_fields), None)
    if unknown is not None:
        raise ConfigError(_unknown((unknown,), origins))
    try:
        return Settings(**tree)
    except ValidationError as error:
        sentence = _sentence(error.errors(include_url=False)[0], origins)
    # raised outside the handler: the library's error holds the raw values
    raise ConfigError(sentence)


def _sentence(error: ErrorDetails, origins: Mapping[Keys, str]) -> str:
    keys = error["loc"]
    if error["type"] == "extra_forbidden":
        return _unknown(keys, origins)
    field = field_at(keys)
    must = f"must be {kind_of(field).may_be}" if field else "is malformed"
    if error["type"] == "missing":
        return f"{dotted(keys)} is missing (in {_origin(keys, origins)}): it {must}."
    whole = f"{dotted(keys[:-1])} " if isinstance(keys[-1], int) else ""
    value = _shown(keys, error["input"])
    return f"{dotted(keys)}{value} ({_origin(keys, origins)}), but {whole}{must}."


def _unknown(keys: Keys, origins: Mapping[Keys, str]) -> str:
    near = _nearest(keys)
    hint = f"; did you mean {near}?" if near else "."
    return f"{dotted(keys)} ({_origin(keys, origins)}) is not a setting{hint}"


def _nearest(keys: Keys) -> str | None:
    """The setting that was probably meant: one of the same table, else one of any."""
    field = field_at(keys[:-1])
    table = (inner_model(field) if field else None) or Settings
    beside = {name: dotted((*keys[:-1], name)) for name in table.model_fields}
    anywhere = {str(spot.path[-1]): dotted(spot.path) for spot in spots()}
    for names in (beside, anywhere):
        for near in difflib.get_close_matches(str(keys[-1]), names, n=1):
            return names[near]
    return None


def _shown(keys: Keys, value: object) -> str:
    """`` is 'value'``, as far as it may be shown."""
    is_url = keys[-1] in ("url", "blobs", "proxy") and isinstance(value, str)
    hides_key = is_url and bool({"@", "?"} & set(str(value)))
    if hides_key or _NEVER_SHOWN & set(keys):
        return " is set"
    if isinstance(value, str | int | float) or value is None:
        return f" is {_shortened(repr(value))}"
    return " is a table" if isinstance(value, Mapping) else " is a list"


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _origin(keys: Keys, origins: Mapping[Keys, str]) -> str:
    """Where the nearest thing to ``keys`` that any source set came from."""
    for length in range(len(keys), 0, -1):
        near = (name for at, name in origins.items() if at[:length] == keys[:length])
        if name := next(near, None):
            return name
    return DEFAULT


def _refuse(settings: Settings, findings: Iterable[Finding], origins: Mapping[Keys, str]) -> None:
    for finding in findings:
        raise ConfigError(_finding_sentence(settings, finding, origins))


def _finding_sentence(settings: Settings, finding: Finding, origins: Mapping[Keys, str]) -> str:
    value = _as_written(finding.keys, _value_at(settings, finding.keys))
    where = _origin(finding.keys, origins)
    return f"{dotted(finding.keys)}{value} ({where}), but {finding.problem}."


def _as_written(keys: Keys, value: object) -> str:
    field = field_at(keys)
    if isinstance(value, StrEnum):
        value = value.value
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str | SecretStr | Mapping) or field is None:
        return _shown(keys, value)
    if isinstance(value, int | float):
        return f" is {kind_of(field).show(value)}"
    return " is a list"


def _value_at(settings: Settings, keys: Keys) -> Any:
    value: Any = settings
    for key in keys:
        is_inside = isinstance(key, int) or isinstance(value, Mapping)
        value = value[key] if is_inside else getattr(value, str(key))
    return value


def _with_keys(settings: Settings, env: Mapping[str, str]) -> Settings:
    models = tuple(
        model.model_copy(update={"upstreams": tuple(_keyed(up, env) for up in model.upstreams)})
        for model in settings.models
    )
    return settings.model_copy(update={"models": models, "data": _addressed(settings.data, env)})


def _addressed(data: DataSettings, env: Mapping[str, str]) -> DataSettings:
    if data.database_env is None:
        return data
    return data.model_copy(update={"database": SecretStr(env[data.database_env])})


def _keyed(upstream: UpstreamSettings, env: Mapping[str, str]) -> UpstreamSettings:
    variables = {name: getattr(upstream, f"{name}_env") for name in UPSTREAM_SECRETS}
    found = {name: SecretStr(env[at]) for name, at in variables.items() if at is not None}
    return upstream.model_copy(update=found)


def _origins_in_force(settings: Settings, origins: Mapping[Keys, str]) -> Mapping[str, str]:
    def origin(keys: Keys) -> str:
        if keys[-1] in _NAMED_SECRETS:
            variable = _value_at(settings, (*keys[:-1], f"{keys[-1]}_env"))
            if variable:
                return f"environment {variable}"
        # a variable sets all options at once
        whole = keys[:-1] if keys[:-1] == _OPTIONS else keys
        return origins.get(keys) or origins.get(whole, DEFAULT)

    shown = settings.model_dump(mode="json")
    return {dotted(keys): origin(keys) for keys, _ in leaves(shown, into_lists=True)}
