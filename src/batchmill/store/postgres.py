"""PostgreSQL's own ways: everything that another database would do otherwise.

Writers run side by side, each transaction at READ COMMITTED. Who must not be
interrupted takes an advisory lock, which the server frees when the transaction
or the connection ends. The driver reads the URL itself, as libpq would: TLS
(``sslmode``, ``sslrootcert``), several hosts, and what stands in ``PGPASSWORD`` or a
password file.
"""

import hashlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import asyncpg
from sqlalchemy import Connection, bindparam, event, func, select
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolExhausted
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.types import BigInteger

from batchmill.domain.errors import BatchmillError, ConfigError, StorageAway, StorageFull
from batchmill.store import postgres_bell
from batchmill.store.postgres_seat import DRIVER_ERRORS, PostgresSeat

Answer = TypeVar("Answer")

# For a process; a server takes a hundred unless told otherwise.
_CONNECTIONS = 8
_RELAXED_CONNECTIONS = 4
_POOL_SECONDS = 30
_CONNECT_SECONDS = 10

# A machine that lost its power says nothing: its silence is noticed after so many seconds.
_SILENCE_SECONDS = 20
_PROBE_SECONDS = 5

_SERVER_SETTINGS = {
    "application_name": "batchmill",
    # Compiling a statement would take longer than running it.
    "jit": "off",
    # A process that is stopped in the middle must not keep its locks for good.
    "idle_in_transaction_session_timeout": "60s",
}
_RELAXED_SETTINGS = {"synchronous_commit": "off"}

_DISK_FULL = "53100"
_MAY_NOT = "42501"
# Too many connections, no memory, a standby that may not write yet.
_AWAY = frozenset({"53300", "53200", "25006"})
# Connections that broke, and servers that stop, start or crashed.
_AWAY_CLASSES = ("08", "57P")
_NO_SUCH_DATABASE = "3D000"
_REFUSED_CLASS = "28"

# A URL that is no URL, and settings that the server does not have or take.
_UNREADABLE = (ValueError, asyncpg.UndefinedObjectError, asyncpg.InvalidParameterValueError)
# What names a file in it.
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")

_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))


class PostgresBackend:
    """The database that ``url`` names; it must be there, and empty or of batchmill's making."""

    has_row_locks = True
    reading: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT"}
    writing: Mapping[str, Any] = {"isolation_level": "READ COMMITTED"}

    def __init__(self, url: str) -> None:
        self._dsn = "postgresql://" + url.partition("://")[2]
        _require_files(self._dsn)

    async def dial(self, **settings: str) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection of one's own, outside of the pools; the caller closes it.

        ``settings`` are the server's, for this connection. Raises the driver's
        errors, which ``explain`` knows, and ConfigError.
        """
        try:
            connection = await asyncpg.connect(
                self._dsn,
                timeout=_CONNECT_SECONDS,
                server_settings={**_SERVER_SETTINGS, **settings},
            )
        except ssl.SSLCertVerificationError:
            raise  # a ValueError as well, by its family
        except _UNREADABLE:
            # Without what it came from, which may quote a part of the password.
            raise ConfigError(
                "The database URL cannot be read; write postgresql://user@host/database, and "
                "only options that PostgreSQL knows."
            ) from None
        # The driver has no other way to its socket.
        wire = connection._transport.get_extra_info("socket")  # noqa: SLF001
        if wire is not None and wire.family != socket.AF_UNIX:
            watch_silence(wire)
        return connection

    def connect(self, *, durable: bool = True) -> AsyncEngine:
        """An engine that opens connections as they are needed."""
        settings = {} if durable else _RELAXED_SETTINGS

        async def dial() -> "asyncpg.Connection[asyncpg.Record]":
            return await self.dial(**settings)

        engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=dial,
            hide_parameters=True,  # rows hold what clients wrote; errors end up in logs
            pool_size=_CONNECTIONS if durable else _RELAXED_CONNECTIONS,
            max_overflow=0,
            pool_timeout=_POOL_SECONDS,
        )
        event.listen(engine.sync_engine, "checkout", _refuse_dead)
        return engine

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Nothing to wait for: the server lets writers wait where they must."""
        return nullcontext()

    @asynccontextmanager
    async def opening(self) -> AsyncIterator[None]:
        """Hold a lock that ends with its connection."""
        connection = await self.dial()
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", lock_key("opening"))
            yield
        finally:
            await connection.close(timeout=_CONNECT_SECONDS)

    async def prepare(self, engine: AsyncEngine) -> None:
        """Refuse a database that cannot hold every text."""
        async with engine.connect() as connection:
            encoding = (await connection.exec_driver_sql("SHOW server_encoding")).scalar_one()
        if encoding != "UTF8":
            raise ConfigError(
                f"The PostgreSQL database is encoded in {encoding}: make one with ENCODING 'UTF8'."
            )

    def serialize(self, connection: Connection, *names: str) -> None:
        """Take a lock that ends with the transaction."""
        connection.execute(_LOCK, {"key": lock_key(*names)})

    def seat(self) -> PostgresSeat:
        """A lock that ends with the connection of its own that holds it."""
        return PostgresSeat(self.dial, self.explain, lock_key("leadership"))

    async def ring(self, connection: AsyncConnection) -> None:
        """Wake whoever listens."""
        await postgres_bell.ring(connection)

    async def listen(self, on_ring: Callable[[], None]) -> None:
        """Call ``on_ring`` now and at every ring, until the connection ends."""
        await postgres_bell.listen(self.dial, on_ring)

    async def ask(self, engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:
        """Do ``work``, which only reads; each statement goes to the server and back."""
        async with engine.connect() as connection:
            return await connection.run_sync(work)

    async def transact(self, engine: AsyncEngine, work: Callable[[Connection], Answer]) -> Answer:
        """Do ``work`` in a transaction; each statement goes to the server and back."""
        async with engine.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        """Nothing to do: every connection belongs to an engine, or to who dialled it."""

    def explain(self, error: BaseException) -> BatchmillError | None:
        """What ``error`` means for the operator, without where the database is."""
        cause = _cause_of(error)
        state = getattr(cause, "sqlstate", None) or ""
        if state == _DISK_FULL:
            return StorageFull(
                "The disk is full, the database took no more; make room where PostgreSQL "
                "keeps its data."
            )
        return _refusal(cause, state) or (_away(cause) if _is_away(error, cause, state) else None)


def _require_files(dsn: str) -> None:
    """Raise ConfigError where a certificate is missing, which the driver calls a server away."""
    for name, value in parse_qsl(dsn.partition("?")[2]):
        if name in _FILES and not Path(value).expanduser().is_file():
            raise ConfigError(f"The database URL names a file in {name} that is not there.")


def lock_key(*names: str) -> int:
    """The number of the advisory lock with these names."""
    told = "\0".join(("batchmill", *names)).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), signed=True)


def _cause_of(error: BaseException) -> BaseException:
    """The driver's own error, out of what SQLAlchemy wrapped around it."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    inner = cause.__cause__
    return inner if isinstance(inner, DRIVER_ERRORS) else cause


def _refusal(cause: BaseException, state: str) -> ConfigError | None:
    if state == _MAY_NOT:
        return ConfigError(
            "PostgreSQL does not let this user do what is needed: grant the rights that "
            "batchmill's documentation lists."
        )
    if state == _NO_SUCH_DATABASE or state.startswith(_REFUSED_CLASS):
        return ConfigError(
            "PostgreSQL refused the connection: check the user, the password and the name "
            "of the database in the database URL."
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return ConfigError(
            "The certificate of the PostgreSQL server is not trusted: check sslmode and "
            "sslrootcert in the database URL."
        )
    return None


def _is_away(error: BaseException, cause: BaseException, state: str) -> bool:
    if isinstance(cause, OSError | PoolExhausted):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(cause, asyncpg.InternalClientError):
        return True
    return state in _AWAY or state.startswith(_AWAY_CLASSES)


def _away(cause: BaseException) -> StorageAway:
    return StorageAway(f"The database cannot be reached now ({type(cause).__name__}); try again.")


def _refuse_dead(connection: DBAPIConnection, _record: object, _proxy: object) -> None:
    """Not lend out what the server has closed meanwhile; costs no question to the server."""
    driver: asyncpg.Connection[asyncpg.Record] = connection.driver_connection
    if driver.is_closed():
        raise InvalidatePoolError


def watch_silence(wire: socket.socket) -> None:
    """Have the kernel end the connection when the other side is silent, as libpq can."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", _PROBE_SECONDS),
        ("TCP_KEEPINTVL", _PROBE_SECONDS),
        ("TCP_KEEPCNT", _SILENCE_SECONDS // _PROBE_SECONDS - 1),
        ("TCP_USER_TIMEOUT", _SILENCE_SECONDS * 1000),
    ):
        if hasattr(socket, option):  # not every system has them all
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
