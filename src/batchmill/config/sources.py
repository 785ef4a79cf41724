"""The three places that set something: the file, the environment, the command line.

Each becomes a ``Layer``: a tree of raw values and the name of where each came
from. Names are checked here, values are not.
"""

import difflib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource, SettingsError

from batchmill.config.settings import ENV_DELIMITER, ENV_PREFIX, Settings
from batchmill.config.tree import Keys, env_name, env_names
from batchmill.domain.errors import ConfigError
from batchmill.domain.rates import Rate

CONFIG_VARIABLE = "BATCHMILL_CONFIG"

# Read by other parts of batchmill: the path of the file, what the client verbs
# talk to, and the fault points of the tests.
OTHER_VARIABLES = frozenset(
    {CONFIG_VARIABLE, "BATCHMILL_SERVER_URL", "BATCHMILL_API_KEY", "BATCHMILL_FAULT"}
)

_JSON_VARIABLE = env_name(("models",))


@dataclass(frozen=True, slots=True)
class Layer:
    """Raw values of one source; ``name`` says where the value at some keys came from."""

    tree: Mapping[str, Any]
    name: Callable[[Keys], str]


def read_file(file: Path) -> Layer:
    """The TOML file; raises ConfigError where it cannot be read or is no TOML."""
    return Layer(read_toml(file, "configuration file"), lambda _: f"file {file}")


def read_toml(
    file: Path, what: str, parse_float: Callable[[str], object] = float
) -> Mapping[str, Any]:
    """The tree of a TOML file, which sentences call ``what``; raises ConfigError."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"), parse_float=parse_float)
    except OSError as error:
        raise ConfigError(
            f"The {what} {file} cannot be read ({error.strerror}): "
            "check the path and its permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The {what} {file} is not UTF-8 at byte {error.start}: save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"The {what} {file} is not valid TOML: {error}. Correct that place."
        ) from None
    except RecursionError:
        raise ConfigError(f"The {what} {file} nests too deeply: flatten it.") from None


def read_environment(env: Mapping[str, str]) -> Layer:
    """The ``BATCHMILL_…`` variables; raises ConfigError on one that sets nothing."""
    ours = {name: value for name, value in env.items() if _is_setting(name)}
    known = env_names()
    for name in ours:
        if name not in known:
            raise ConfigError(_unknown_variable(name, tuple(known)))
    try:
        tree = _Environment(ours)()
    except (SettingsError, RecursionError):
        raise ConfigError(
            f"The environment variable {_JSON_VARIABLE} is not valid JSON "
            f"({_why_no_json(ours[_JSON_VARIABLE])}): it must be a list of the tables "
            "that the file has under [[models]]."
        ) from None
    return Layer(tree, lambda keys: f"environment {_variable(keys, known)}")


def read_flags(flags: Mapping[str, object]) -> Layer:
    """The command line's values by dotted path; None is a flag that was not given."""
    tree: dict[str, Any] = {}
    for path, value in flags.items():
        if value is not None:
            place(tree, tuple(path.split(".")), value)
    return Layer(tree, lambda keys: f"flag {flag_name(keys)}")


def flag_name(keys: Keys) -> str:
    """The flag of a setting: ``--port``, ``--data-dir``."""
    shown = keys[1:] if keys[0] == "server" and len(keys) > 1 else keys
    return "--" + "-".join(str(key) for key in shown).replace("_", "-")


def place(tree: dict[str, Any], keys: Keys, value: object) -> None:
    """Put ``value`` into ``tree``; what stands where a table must be stays there, to be refused."""
    *tables, last = map(str, keys)
    for table in tables:
        inner = tree.setdefault(table, {})
        if not isinstance(inner, dict):
            return
        tree = inner
    tree[last] = value


class _Environment(EnvSettingsSource):
    """The library's reader of nested variables, over a mapping instead of the process's own."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        super().__init__(Settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._env.items()}

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """The parts of a value that is written in JSON; a rate is written as a word."""
        if field.annotation is Rate:
            return value
        return super().decode_complex_value(field_name, field, value)


def _is_setting(name: str) -> bool:
    return name.startswith(ENV_PREFIX) and name not in OTHER_VARIABLES


def _variable(keys: Keys, known: Mapping[str, Keys]) -> str:
    longest = next((keys[:n] for n in range(len(keys), 0, -1) if env_name(keys[:n]) in known), keys)
    return env_name(longest)


def _unknown_variable(name: str, known: tuple[str, ...]) -> str:
    below = next((entry for entry in known if entry.startswith(name + ENV_DELIMITER)), None)
    if below:
        return (
            f"The environment variable {name} names a section, not a setting: "
            f"set its entries one by one, such as {below}."
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    hint = f"; did you mean {near[0]}?" if near else "."
    return f"The environment variable {name} is not a setting{hint}"


def _why_no_json(text: str) -> str:
    # the text itself may hold a key, and is not shown
    try:
        json.loads(text)
    except ValueError as error:
        return str(error)
    except RecursionError:
        pass
    return "it nests too deeply"
