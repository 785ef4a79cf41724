"""Whether a bucket will do, tried before anything is served, and what is said where it will not.

What can only be cured by a change of the settings is told at once. What may
pass is tried again for a while.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from uuid import uuid4

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotSupportedError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import ObjectStore

from batchmill.blobs.authority import OPTION
from batchmill.blobs.bucket import Patience, open_bucket
from batchmill.domain.errors import BatchmillError, ConfigError, StorageAway

# A start is not held up for long: whoever starts the server tries again.
_CHECK_SECONDS = 15.0
_PAUSE = 0.5

# The library would try a certificate that is not trusted for minutes, as if it were away.
_ONCE = Patience(retries=0)

_STRANGE = f"which no authority that is known here vouches for: name your own in {OPTION}"

# What the library's insides say of a certificate, and what it means.
_CERTIFICATES = {
    "UnknownIssuer": _STRANGE,
    "BadSignature": _STRANGE,  # an authority of the same name, with another key
    "NotValidForName": "of another host: correct the endpoint, or the certificate",
    "NotValidYet": "that is not valid yet: wait, or set this machine's clock",
    "Expired": "that has expired: renew it, or set this machine's clock",
    "CaUsedAsEndEntity": "that is an authority's: let the authority sign one for the server",
}
_MACHINE = re.compile(r"169\.254\.169\.254|metadata\.google|/latest/(api/token|meta-data)")
_REFUSAL = re.compile(r"non-2xx status code: (4(?!08|29)\d\d)")


async def check_bucket(
    url: str, options: Mapping[str, str], seconds: float = _CHECK_SECONDS
) -> None:
    """Write, read and remove a small object; return if the bucket does all that is needed.

    One that does not answer is asked again for ``seconds``. Raises ConfigError
    where it will not do, StorageAway where it does not answer.
    """
    bucket, place = open_bucket(url, options, _ONCE), f"The bucket of data.blobs ({url})"
    last: BaseError | None = None
    end = asyncio.get_running_loop().time() + seconds
    try:
        async with asyncio.timeout_at(end):
            while (last := await _attempt(bucket, place)) is not None:
                await _pause(end)
    except TimeoutError as error:
        raise _unreachable(place, url, last, seconds) from (last or error)


async def _pause(end: float) -> None:
    """Wait a moment; raises TimeoutError at once where another try would come after ``end``."""
    if asyncio.get_running_loop().time() + _PAUSE > end:
        raise TimeoutError
    await asyncio.sleep(_PAUSE)


async def _attempt(bucket: ObjectStore, place: str) -> BaseError | None:
    """What may pass, if anything; raises ConfigError over what will not."""
    try:
        await _probe(bucket, place)
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
        if (lasting := _lasting(place, str(error))) is not None:
            raise lasting from error
        return error
    return None


def _lasting(place: str, text: str) -> ConfigError | None:
    """What another try would not change."""
    if "InvalidCertificate(" in text:
        found = (meaning for word, meaning in _CERTIFICATES.items() if word in text)
        return ConfigError(f"{place} has a certificate {next(found, 'that is not accepted')}.")
    if "InvalidMessage(" in text:
        return ConfigError(f"{place} does not speak TLS: correct the endpoint.")
    if "BadScheme" in text:
        return ConfigError(
            f"{place} would be reached without TLS: make the endpoint https, or set "
            'data.blob_options.allow_http to "true".'
        )
    if "redirect without LOCATION" in text:
        return ConfigError(f"{place} is in another region; set data.blob_options.region.")
    if (refusal := _REFUSAL.search(text)) is not None:
        return _lacks_credentials(place, text) or ConfigError(
            f"{place} refuses what it is asked (status {refusal[1]}): check the region, the "
            "endpoint and the credentials."
        )
    return None


def _unreachable(place: str, url: str, last: BaseError | None, seconds: float) -> BatchmillError:
    if last is None:
        return StorageAway(f"{place} does not answer within {seconds:.0f} s.{_hint(url)}")
    away = StorageAway(f"{place} cannot be reached.")
    return _lacks_credentials(place, str(last)) or away


def _lacks_credentials(place: str, text: str) -> ConfigError | None:
    # Without any the library asks the cloud's machine for them.
    if _MACHINE.search(text.split("\n", maxsplit=1)[0]) is None:
        return None
    return ConfigError(
        f"{place} needs credentials, and there are none in the environment: for S3 set "
        f"AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
    )


def _hint(url: str) -> str:
    # Where nobody is, whom the library asks for them instead, that takes long.
    if url.startswith("s3://") and "AWS_ACCESS_KEY_ID" not in os.environ:
        return " There is no AWS_ACCESS_KEY_ID in the environment: set it if it is needed."
    return ""


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
