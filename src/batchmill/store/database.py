"""A connection for reading or for writing, and foreign errors in the house's words.

``write`` is a transaction that no other writer interrupts, in this process or
another; ``relaxed`` is the same, but a power cut may undo it. No SQL of one
database only: that lives with its ``Backend``.
"""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Protocol

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from batchmill.domain.errors import StorageFull


class Backend(Protocol):
    """What one kind of database does in its own way."""

    def connect(self, *, durable: bool = True) -> AsyncEngine:
        """An engine; on connections with the option ``writes`` a transaction is a writer's.

        Without ``durable`` a commit does not wait for the disk. It survives the
        end of the process all the same, and never undoes a durable one.
        """
        ...

    def opening(self) -> AbstractAsyncContextManager[None]:
        """Keep every other process from opening the database meanwhile."""
        ...

    async def prepare(self, engine: AsyncEngine) -> None:
        """Settle what lasts as long as the database; called while ``opening``."""
        ...

    async def serialize(self, connection: AsyncConnection, account: str) -> None:
        """Until the transaction ends, let no other one count and add for ``account``."""
        ...

    def is_full(self, error: BaseException) -> bool:
        """Whether the driver's ``error`` means that the disk took no more."""
        ...


class Database:
    """The engines of one database, with its three ways in."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._engine = backend.connect()
        self._writing = self._engine.execution_options(writes=True)
        self._lazy = backend.connect(durable=False)
        self._relaxing = self._lazy.execution_options(writes=True)
        # Writers of this process queue here, first come first served; without it
        # each would poll the database's lock and some could starve.
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection to read with; each statement sees a consistent state."""
        with self._errors_translated():
            async with self._engine.connect() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """A transaction: committed at the end, rolled back on an error; raises StorageFull."""
        with self._errors_translated():
            async with self._turn, self._writing.begin() as connection:
                yield connection

    @asynccontextmanager
    async def relaxed(self) -> AsyncIterator[AsyncConnection]:
        """``write`` for what may be forgotten: a power cut may undo it, a kill does not.

        Later durable writes make it durable as well. Raises StorageFull.
        """
        with self._errors_translated():
            async with self._turn, self._relaxing.begin() as connection:
                yield connection

    async def serialize(self, connection: AsyncConnection, account: str) -> None:
        """Until the transaction ends, let no other one count and add for ``account``."""
        await self._backend.serialize(connection, account)

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Keep every other process from opening the database; raises StorageFull."""
        with self._errors_translated():
            async with self._backend.opening():
                await self._backend.prepare(self._engine)
                yield

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
        await self._lazy.dispose()

    @contextmanager
    def _errors_translated(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, OSError) as error:
            if not self._is_full(error):
                raise
            message = "The disk is full, the database took no more; make room in the data folder."
            raise StorageFull(message) from error

    def _is_full(self, error: DBAPIError | OSError) -> bool:
        if isinstance(error, OSError):
            return error.errno in (errno.ENOSPC, errno.EDQUOT)
        return error.orig is not None and self._backend.is_full(error.orig)
