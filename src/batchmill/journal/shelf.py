"""Small objects of a bucket, as a journal needs them: written once, never replaced.

The library tries again for two minutes by itself; what is left after that is
StorageAway here, and the message names nothing but the key.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from batchmill.domain.errors import StorageAway

_READS_AT_ONCE = 32
_WRITES_AT_ONCE = 16
_DELETED_AT_ONCE = 1_000


class Shelf:
    """The objects of ``bucket``."""

    def __init__(self, bucket: ObjectStore) -> None:
        self._bucket = bucket
        self._reading = asyncio.Semaphore(_READS_AT_ONCE)
        self._writing = asyncio.Semaphore(_WRITES_AT_ONCE)

    async def add(self, key: str, data: bytes) -> None:
        """Write an object that was not there; raises StorageAway.

        Raises FileExistsError where another stands under the key. One of the same
        content is taken for ours: its answer was lost, and it was sent again.
        """
        try:
            async with self._writing:
                with _away_named(key):
                    await obstore.put_async(
                        self._bucket, key, data, mode="create", use_multipart=False
                    )
        except AlreadyExistsError as error:
            if await self.get(key) != data:
                raise FileExistsError(f"another has written '{key}'") from error

    async def get(self, key: str) -> bytes | None:
        """The bytes under the key; None without any. Raises StorageAway."""
        try:
            async with self._reading:
                with _away_named(key):
                    return bytes(await (await obstore.get_async(self._bucket, key)).bytes_async())
        except FileNotFoundError:
            return None

    async def get_all(self, keys: Iterable[str]) -> Sequence[bytes | None]:
        """As ``get``, many at once; in the order of ``keys``."""
        tasks = [asyncio.create_task(self.get(key)) for key in keys]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def paths(self, folder: str) -> Sequence[str]:
        """The keys of all objects below a folder; raises StorageAway."""
        with _away_named(folder):
            found = await obstore.list(self._bucket, folder).collect_async()
        return [one["path"] for one in found]

    async def folders(self, folder: str) -> Sequence[str]:
        """The names of the folders in a folder; raises StorageAway."""
        with _away_named(folder):
            found = await obstore.list_with_delimiter_async(self._bucket, folder)
        return [path.rpartition("/")[2] for path in found["common_prefixes"]]

    async def remove(self, keys: Sequence[str]) -> None:
        """Delete objects; those that are gone already are no trouble. Raises StorageAway."""
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = list(keys[start : start + _DELETED_AT_ONCE])
            with suppress(FileNotFoundError), _away_named(some[0]):
                await obstore.delete_async(self._bucket, some)


@contextmanager
def _away_named(key: str) -> Iterator[None]:
    try:
        yield
    except AlreadyExistsError:
        raise
    except BaseError as error:
        raise StorageAway(
            f"The object store does not answer, or refuses; '{key}' is out of reach."
        ) from error
