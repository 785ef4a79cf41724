"""A bucket, opened from its URL: how it is reached, and how long it is waited for.

Credentials come from the environment alone, under the names that each store's
own tools use. Imported only where a bucket is configured.
"""

import atexit
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import MemoryStore, ObjectStore
from obstore.store import from_url as store_from_url

from batchmill.blobs.authority import read_authority
from batchmill.domain.errors import ConfigError

SCHEMES = ("s3", "gs", "az", "memory")

# Options of the HTTP client; all others are the store's own.
_CLIENT_OPTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)
_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})
_YES = frozenset({"true", "1", "yes", "on", "y"})

# What is no answer by then is tried again. A part of 8 MiB passes at 1.2 Mbit/s.
_TIMEOUTS = {"connect_timeout": "5s", "timeout": "60s"}

# A thread that has microseconds' work to do gets a turn in that time on any machine.
_REST_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and for how many seconds in all, a request is tried; pauses double to 5 s."""

    retries: int = 60
    seconds: float = 120.0
    first_pause: float = 0.1


@cache
def _end_quietly() -> None:
    """Let the library's threads come to rest before the interpreter ends.

    Behind the last answer one of them needs the interpreter once more; where
    that is ending, the whole process is aborted, whatever it had come to.
    """
    atexit.register(time.sleep, _REST_SECONDS)


def open_bucket(
    url: str,
    options: Mapping[str, str],
    patience: Patience = Patience(),
) -> ObjectStore:
    """The store that ``url`` names, such as ``s3://bucket/prefix``; keys are below the prefix.

    ``options`` are the library's own names, such as ``endpoint`` and ``region``;
    ``root_certificate`` may name a file. Nothing is sent yet. Raises ConfigError.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ConfigError(f"data.blobs is not a bucket: it must begin with {_listed(SCHEMES)}.")
    if scheme == "memory":
        return MemoryStore()
    _end_quietly()
    own, client = _split(options)
    open_store: Callable[..., ObjectStore] = store_from_url
    retry = _retry_config(patience)
    try:
        return open_store(url, config=own, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        # The first line names the option at fault; what follows are the library's insides.
        reason = str(error).split("\n", maxsplit=1)[0].rstrip(".")
        raise ConfigError(f"data.blobs or data.blob_options do not name a bucket: {reason}.") from (
            error
        )


def _retry_config(patience: Patience) -> dict[str, object]:
    pause = timedelta(seconds=patience.first_pause)
    return {
        "max_retries": patience.retries,
        "retry_timeout": timedelta(seconds=patience.seconds),
        "backoff": {"init_backoff": pause, "max_backoff": timedelta(seconds=5), "base": 2},
    }


def _listed(schemes: tuple[str, ...]) -> str:
    *others, last = (f"{scheme}://" for scheme in schemes if scheme != "memory")
    return f"{', '.join(others)} or {last}"


def _split(options: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The store's own options, and those of its HTTP client."""
    names = {name.lower(): value for name, value in options.items()}
    client = dict(_TIMEOUTS)
    client.update((name, names.pop(name)) for name in list(names) if name in _CLIENT_OPTIONS)
    if "root_certificate" in client:
        client["root_certificate"] = read_authority(client["root_certificate"])
    for name, value in names.items():
        if name.endswith(("endpoint", "endpoint_url")):
            _check_endpoint(name, value)
            if value.startswith("http://"):
                _allow_plain(name, value, client)
    return names, client


def _check_endpoint(name: str, value: str) -> None:
    # The library's threads panic over an address that is none.
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"data.blob_options.{name} is no address: it must be such as https://s3.example.com."
        )


def _allow_plain(name: str, value: str, client: dict[str, str]) -> None:
    """Let the client go without TLS on this machine; elsewhere only where that was asked for."""
    if urlsplit(value).hostname in _LOCAL_HOSTS:
        client.setdefault("allow_http", "true")
    elif client.get("allow_http", "").lower() not in _YES:
        raise ConfigError(
            f"data.blob_options.{name} is plain http, which is read on the way: make it https, "
            'or say allow_http = "true" beside it.'
        )
