"""A bucket, opened from its URL: how long it is waited for, and whether it will do.

Credentials come from the environment alone, under the names that each store's
own tools use. Imported only where a bucket is configured.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit
from uuid import uuid4

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import MemoryStore, ObjectStore
from obstore.store import from_url as store_from_url

from batchmill.domain.errors import ConfigError, StorageAway

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

# What is no answer by then is tried again. A part of 8 MiB passes at 1.2 Mbit/s.
_TIMEOUTS = {"connect_timeout": "5s", "timeout": "60s"}


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and for how many seconds in all, a request is tried; pauses double to 5 s."""

    retries: int = 60
    seconds: float = 120.0
    first_pause: float = 0.1


# A start is not held up for long: whoever starts the server tries again.
_CHECK_SECONDS = 15.0


def open_bucket(
    url: str,
    options: Mapping[str, str],
    patience: Patience = Patience(),
) -> ObjectStore:
    """The store that ``url`` names, such as ``s3://bucket/prefix``; keys are below the prefix.

    ``options`` are the library's own names, such as ``endpoint`` and ``region``.
    Nothing is sent yet. Raises ConfigError.
    """
    scheme = urlsplit(url).scheme
    if scheme not in SCHEMES:
        raise ConfigError(f"data.blobs is not a bucket: it must begin with {_listed(SCHEMES)}.")
    if scheme == "memory":
        return MemoryStore()
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
    for name, value in names.items():
        if name.endswith(("endpoint", "endpoint_url")):
            _check_endpoint(name, value)
            if value.startswith("http://") and urlsplit(value).hostname in _LOCAL_HOSTS:
                client.setdefault("allow_http", "true")
    return names, client


def _check_endpoint(name: str, value: str) -> None:
    # The library's threads panic over an address that is none.
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"data.blob_options.{name} is no address: it must be such as https://s3.example.com."
        )


async def check_bucket(bucket: ObjectStore, url: str) -> None:
    """Write, read and remove a small object; return if the bucket does all that is needed.

    Raises ConfigError where it will not do, StorageAway where it does not answer.
    """
    place = f"The bucket of data.blobs ({url})"
    try:
        await asyncio.wait_for(_probe(bucket, place), _CHECK_SECONDS)
    except TimeoutError as error:
        raise StorageAway(
            f"{place} does not answer within {_CHECK_SECONDS:.0f} s.{_hint(url)}"
        ) from error
    except FileNotFoundError as error:
        raise ConfigError(
            f"{place} does not exist; make it, or correct the name or the endpoint."
        ) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise ConfigError(
            f"{place} refuses the credentials of the environment, or they lack a right: "
            f"objects must be put, got, listed and deleted."
        ) from error
    except BaseError as error:
        raise _unreachable(place, error) from error


def _hint(url: str) -> str:
    # The library then asks the cloud's machine for them, and elsewhere nobody answers that.
    if url.startswith("s3://") and "AWS_ACCESS_KEY_ID" not in os.environ:
        return " There is no AWS_ACCESS_KEY_ID in the environment: set it if it is needed."
    return ""


def _unreachable(place: str, error: BaseError) -> ConfigError | StorageAway:
    text = str(error)
    if "redirect without LOCATION" in text:
        return ConfigError(f"{place} is in another region; set data.blob_options.region.")
    if "169.254.169.254" in text or "metadata" in text.split("\n", maxsplit=1)[0].lower():
        return ConfigError(
            f"{place} needs credentials, and there are none in the environment: for S3 set "
            f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    return StorageAway(f"{place} cannot be reached.")


async def _probe(bucket: ObjectStore, place: str) -> None:
    key, data = f"probe/{uuid4().hex}", b"batchmill"
    await obstore.put_async(bucket, key, data, mode="create", use_multipart=False)
    try:
        found = bytes(await (await obstore.get_async(bucket, key)).bytes_async())
        if found != data or not await _refuses_to_overwrite(bucket, key):
            raise ConfigError(
                f"{place} does not keep its word: an object that is written with "
                f"'If-None-Match: *' must never replace another. Late writers are fenced by it."
            )
        await obstore.list_with_delimiter_async(bucket, "probe")
        await _ask_for_missing(bucket, f"{key}-not")
    finally:
        await obstore.delete_async(bucket, key)


async def _ask_for_missing(bucket: ObjectStore, key: str) -> None:
    """Without the right to list, a store may forbid to ask for what is not there."""
    with suppress(FileNotFoundError):
        await obstore.head_async(bucket, key)


async def _refuses_to_overwrite(bucket: ObjectStore, key: str) -> bool:
    try:
        await obstore.put_async(bucket, key, b"other", mode="create", use_multipart=False)
    except AlreadyExistsError:
        return True
    except NotSupportedError:
        return False
    return False
