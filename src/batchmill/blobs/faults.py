"""What goes wrong with an object store, in the words of the port."""

from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import BaseError, PreconditionError

from batchmill.domain.errors import StorageAway
from batchmill.ports import BlobMissing


@contextmanager
def faults_named(key: str) -> Iterator[None]:
    """Turn the library's errors into BlobMissing and StorageAway.

    The library has tried again for two minutes by then. What it says quotes
    addresses and answers, and stays out of the message.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise BlobMissing(key) from error
    except PreconditionError as error:
        raise StorageAway(f"The bytes of '{key}' were replaced while they were read.") from error
    except BaseError as error:
        raise StorageAway(
            f"The object store does not answer, or refuses; '{key}' is out of reach."
        ) from error
