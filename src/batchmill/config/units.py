"""How a value is written: sizes, durations, counts, names, and how each is shown again.

Every type here carries a ``Kind``: the words that an error sentence and the
reference use for what the value may be. A type without one cannot be a setting.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr
from pydantic_settings import NoDecode

from batchmill.domain.limits import parse_duration
from batchmill.domain.rates import Rate
from batchmill.domain.regions import is_region, is_rule_word

MASK = "**********"
DATABASE_URL = (
    "a URL such as postgresql://user@host:5432/name or sqlite:////srv/batchmill.db, with the odd "
    "characters of a password escaped (@ is %40)"
)

LOGIN = "a user and a password with : between, in printable characters"

_SIZES = {"": 1, "B": 1, "KB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}
_SIZE = re.compile(r"([0-9]{1,18}) ?([KMGT]?B)?", re.IGNORECASE)
_TIMES = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_RATE = re.compile(r"([1-9][0-9]{0,8})/([smhd])")
_SERVERS = frozenset({"postgresql", "postgres"})
_BUCKETS = frozenset({"s3", "gs", "az", "memory"})
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")


@dataclass(frozen=True, slots=True)
class Kind:
    """What a setting may be, in words that follow "must be", and how its value is written out."""

    may_be: str
    show: Callable[[Any], str] = str


def parse_size(value: object) -> object:
    """Bytes of ``500MB`` or of an integer; what is neither is left to pydantic to refuse."""
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        return int(match[1]) * _SIZES[(match[2] or "").upper()]
    return _number(value)


def parse_seconds(value: object) -> object:
    """Seconds of ``24h`` or of a number; what is neither is left to pydantic to refuse."""
    seconds = parse_duration(value.strip()) if isinstance(value, str) else None
    return _number(value) if seconds is None else seconds


def format_size(size: int) -> str:
    """The shortest exact spelling: ``500MB``, ``1000`` (bytes)."""
    for unit in ("TB", "GB", "MB", "KB"):
        if size and size % _SIZES[unit] == 0:
            return f"{size // _SIZES[unit]}{unit}"
    return str(size)


def format_seconds(seconds: float) -> str:
    """The shortest exact spelling in hours or less: ``24h``, ``90s``, ``0.02`` (seconds)."""
    if seconds != int(seconds) or seconds == 0:
        return f"{seconds:g}"
    unit = next(unit for unit in "hms" if seconds % _TIMES[unit] == 0)
    return f"{int(seconds) // _TIMES[unit]}{unit}"


def parse_rate(value: object) -> object:
    """A Rate of ``1000/m``; what is none is left to pydantic to refuse."""
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    return Rate(int(match[1]), float(_TIMES[match[2]])) if match else value


def format_rate(rate: Rate | str) -> str:
    """How the rate is written: ``1000/m``. A dump of settings holds it so already."""
    if isinstance(rate, str):
        return rate
    unit = next(unit for unit, seconds in _TIMES.items() if seconds == rate.seconds)
    return f"{rate.limit}/{unit}"


def read_timezone(name: str) -> tzinfo:
    """The zone of that name; raises ValueError. UTC needs no zone data on the machine."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError) as error:
        raise ValueError(name) from error


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or an address that only this machine reaches."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_database_url(url: str) -> bool:
    """Whether ``url`` names a database of a kind that can be used.

    A password must be escaped: else a part of it could be taken for the path, and be shown.
    """
    try:
        parts = urlsplit(url)
        is_reachable = parts.port != 0
    except ValueError:
        return False
    kind = parts.scheme.partition("+")[0]
    is_server = kind in _SERVERS and is_reachable
    is_file = kind == "sqlite" and not parts.netloc
    odd = "@" in parts.path or parts.fragment or not url.isprintable() or " " in url
    return (is_server or is_file) and len(parts.path) > 1 and not odd


def is_served(database: str) -> bool:
    """Whether the database of that URL is a server, which several machines reach."""
    return urlsplit(database).scheme.partition("+")[0] in _SERVERS


def public_url(url: str) -> str:
    """As much of a database's or a bucket's URL as anybody may see: no user, nothing after ?."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def holds_password(database: str) -> bool:
    """Whether the URL of a database holds the password itself."""
    parts = urlsplit(database)
    return parts.password is not None or "password" in parse_qs(parts.query)


def is_header_safe(key: str) -> bool:
    """Whether ``key`` can stand in an ``Authorization`` header: printable ASCII, no blanks."""
    return bool(key) and key.isascii() and key.isprintable() and " " not in key


def is_login(text: str) -> bool:
    """Whether ``text`` is a user and a password with : between."""
    return ":" in text[1:] and text.isprintable()


def _number(value: object) -> object:
    # pydantic would read true as 1
    if isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004 - pydantic turns only ValueError into a finding
    return value


def _url(value: str) -> str:
    parts = urlsplit(value)
    usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    extras = parts.username is not None or parts.query or parts.fragment
    if not usable or extras or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("url")
    return urlunsplit(parts).rstrip("/")


def _proxy(value: str) -> str:
    parts = urlsplit(value)
    usable = parts.scheme == "http" and parts.hostname and parts.port != 0
    extras = parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment
    if not usable or extras or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("proxy")
    return value.rstrip("/")


def _login(value: SecretStr) -> SecretStr:
    if not is_login(value.get_secret_value()):
        raise ValueError("login")
    return value


def _database(value: SecretStr) -> SecretStr:
    if not is_database_url(value.get_secret_value()):
        raise ValueError("database")
    return value


def _bucket(value: str) -> str:
    bucket = value.removesuffix("/")
    parts = urlsplit(bucket)
    usable = parts.scheme in _BUCKETS and parts.hostname and parts.netloc == parts.hostname
    odd = parts.query or parts.fragment or {"", ".", ".."} & set(parts.path.split("/")[1:])
    if not usable or odd or not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError("bucket")
    return bucket


def _options(value: object) -> object:
    """The pairs of ``name=value,name=value``, as a variable has them."""
    if not isinstance(value, str):
        return value
    pairs = (pair.partition("=") for pair in value.split(",") if pair.strip())
    return {name.strip(): text.strip() for name, _, text in pairs}


def _shown_options(value: object) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    return ", ".join(f"{name}={text}" for name, text in value.items()) or "none"


def _label(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("label")
    return value


def _region(value: str) -> str:
    if not is_region(value):
        raise ValueError("region")
    return value


def _rule_word(value: str) -> str:
    if not is_rule_word(value):
        raise ValueError("region rule")
    return value


def _zone(value: str) -> str:
    read_timezone(value)
    return value


def _hosts(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value.lower()):
        raise ValueError("host")
    return value.lower()


def _header_safe(value: SecretStr) -> SecretStr:
    if not is_header_safe(value.get_secret_value()):
        raise ValueError("secret")
    return value


def _folder(value: Path) -> Path:
    try:
        return value.expanduser()
    except RuntimeError as error:  # no such user's home
        raise ValueError("folder") from error


def _joined(values: Sequence[str]) -> str:
    return ", ".join(values) or "none"


def _mask(_: object) -> str:
    return MASK


_AT_LEAST_ONE = Kind("a whole number of at least 1")
_SOME_SIZE = Kind("a number of bytes of at least 1, or one with KB, MB, GB or TB", format_size)
_SOME_TIME = Kind("a number of seconds above 0, or one with s, m, h or d", format_seconds)

Count = Annotated[int, BeforeValidator(_number), Field(ge=1), _AT_LEAST_ONE]
Tally = Annotated[int, BeforeValidator(_number), Field(ge=0), Kind("a whole number of at least 0")]
Port = Annotated[
    int,
    BeforeValidator(_number),
    Field(ge=0, le=65_535),
    Kind("a whole number from 0 (any free port) to 65535"),
]
Weight = Annotated[
    float,
    BeforeValidator(_number),
    Field(gt=0, allow_inf_nan=False),
    Kind("a number above 0", "{:g}".format),
]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=1), _SOME_SIZE]
WholeSeconds = Annotated[
    int,
    BeforeValidator(parse_seconds),
    Field(ge=1),
    Kind("a whole number of seconds of at least 1, or one with s, m, h or d", format_seconds),
]
Seconds = Annotated[
    float, BeforeValidator(parse_seconds), Field(gt=0, allow_inf_nan=False), _SOME_TIME
]
Pause = Annotated[
    float,
    BeforeValidator(parse_seconds),
    Field(ge=0, allow_inf_nan=False),
    Kind("a number of seconds of at least 0, or one with s, m, h or d", format_seconds),
]
RequestRate = Annotated[
    Rate,
    BeforeValidator(parse_rate),
    PlainSerializer(format_rate),
    Kind("a number of requests a second, minute, hour or day, such as 3/s or 1000/m", format_rate),
]
Flag = Annotated[bool, Kind("true or false", lambda value: "true" if value else "false")]
Label = Annotated[
    str,
    Field(min_length=1, max_length=200),
    AfterValidator(_label),
    Kind("1 to 200 printable characters without blanks around them"),
]
RegionName = Annotated[
    str,
    AfterValidator(_region),
    Kind("the name of a region: up to 63 small letters, digits and -, such as eu-west"),
]
RegionRule = Annotated[
    tuple[Annotated[str, AfterValidator(_rule_word)], ...],
    Field(min_length=1),
    Kind("a list of one or more of: a region's name, * for every region, !name", ", ".join),
]
Url = Annotated[
    str,
    AfterValidator(_url),
    Kind("an http or https URL such as http://10.0.0.5:8000/v1, without a key in it"),
]
ProxyUrl = Annotated[
    str,
    AfterValidator(_proxy),
    Kind("an http URL such as http://proxy.internal:3128, without a user, a password or a path"),
]
Timezone = Annotated[
    str,
    AfterValidator(_zone),
    Kind("the name of a time zone, such as UTC or Asia/Shanghai, that this machine has data for"),
]
Host = Annotated[str, Field(min_length=1), Kind("a host name or an address")]
Hosts = Annotated[
    tuple[Annotated[str, AfterValidator(_host)], ...],
    NoDecode,
    BeforeValidator(_hosts),
    Kind("a list of host names without a port (in a variable: with commas between)", _joined),
]
TomlFile = Annotated[Path, AfterValidator(_folder), Kind("the path of a TOML file")]
PemFile = Annotated[Path, AfterValidator(_folder), Kind("the path of a PEM file")]
Folder = Annotated[Path, AfterValidator(_folder), Kind("the path of a folder")]
Secret = Annotated[
    SecretStr,
    AfterValidator(_header_safe),
    Kind("printable ASCII characters without blanks", _mask),
]
Login = Annotated[
    SecretStr,
    AfterValidator(_login),
    Kind(LOGIN, _mask),
]
Variable = Annotated[
    str,
    Field(pattern=r"^[A-Z_][A-Z0-9_]*$"),
    Kind("the name of an environment variable: capital letters, digits and _"),
]
DatabaseUrl = Annotated[
    SecretStr,
    AfterValidator(_database),
    Kind(DATABASE_URL, _mask),
]
BucketUrl = Annotated[
    str,
    AfterValidator(_bucket),
    Kind("a URL such as s3://bucket/prefix, gs://bucket/prefix or az://container, without a key"),
]
Options = Annotated[
    Mapping[str, str],
    NoDecode,
    BeforeValidator(_options),
    Kind("a table of texts (in a variable: name=value with commas between)", _shown_options),
]
