"""PostgreSQL's own ways: what its server, its roles and its restarts mean for the store."""

import asyncio
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from postgres_server import PostgresServer, database, free_port, running, shared
from sqlalchemy import ClauseElement, select, text
from store_cases import PLENTY, T0, a_batch, a_file, a_tally, planned, some_shards

from batchmill.domain.errors import BatchmillError, ConfigError, StorageAway, StorageFull
from batchmill.domain.rates import Rate, RateRule
from batchmill.ports import BatchQuery, FileQuery, Reservation
from batchmill.store import SqlStore, open_store, outbox
from batchmill.store import shards as shard_rows
from batchmill.store.batches import list_statement as batch_list
from batchmill.store.batches import with_sums
from batchmill.store.file_uses import uses_statement
from batchmill.store.files import list_statement as file_list
from batchmill.store.postgres import lock_key, watch_silence
from batchmill.store.tables import UNFINISHED, batches

RIGHTS = (
    "GRANT CONNECT ON DATABASE {database} TO {role}",
    "GRANT USAGE ON SCHEMA public TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
    "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
)


def with_database(test: Callable[[SqlStore], Awaitable[None]]) -> None:
    """Run ``test`` with a store on a fresh database."""

    async def main(url: str) -> None:
        store = await open_store(url)
        try:
            await test(store)
        finally:
            await store.close()

    with database() as url:
        asyncio.run(main(url))


def name_in(url: str) -> str:
    return url.partition("/test_")[2].partition("?")[0].join(("test_", ""))


async def value_of(store: SqlStore, question: str) -> object:
    async with store._database.read() as connection:
        return (await connection.execute(text(question))).scalar_one()


# --- where it is ---


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_every_way_to_write_the_url_names_the_same_database(scheme: str) -> None:
    async def main(url: str) -> None:
        store = await open_store(url.replace("postgresql", scheme, 1))
        assert await value_of(store, "SELECT current_database()") == name_in(url)
        await store.close()

    with database() as url:
        asyncio.run(main(url))


def test_options_of_the_url_reach_the_driver() -> None:
    """Those of the connection, and settings of the server."""

    async def main(url: str) -> None:
        store = await open_store(f"{url}&application_name=mine&statement_timeout=1234567")
        assert await value_of(store, "SHOW statement_timeout") == "1234567ms"
        await store.close()

    with database() as url:
        asyncio.run(main(url))


WRONG = {
    "no such user": "postgresql://nobody:secret@/postgres?host={sockets}",
    "no such database": "postgresql://postgres:secret@/nowhere?host={sockets}",
    "no port": "postgresql://me:secret@host:port/x",
    "no such option": "postgresql://me:secret@/x?host={sockets}&sslmode=perhaps",
    "no such certificate": "postgresql://me:secret@localhost/x?sslmode=verify-ca&sslrootcert=/no",
    "no such setting": "postgresql://postgres:secret@/postgres?host={sockets}&frobnicate=1",
}


@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_what_the_operator_must_change_is_refused_without_its_secrets(wrong: str) -> None:
    where = WRONG[wrong].format(sockets=shared().sockets)
    with pytest.raises(ConfigError, match="database URL") as refused:
        asyncio.run(open_store(where))
    assert "secret" not in str(refused.value)


def test_a_database_that_cannot_hold_every_text_is_refused() -> None:
    server = shared()
    server.run("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(ConfigError, match=r"encoded in LATIN1.*ENCODING 'UTF8'"):
        asyncio.run(open_store(server.url("latin")))
    server.drop("latin")


def test_a_server_that_does_not_listen_is_away() -> None:
    """Nobody changed a setting: it may come back."""
    for where in (
        "postgresql://me:secret@/x?host=/nowhere",
        f"postgres://127.0.0.1:{free_port()}/x",
    ):
        with pytest.raises(StorageAway, match="cannot be reached") as away:
            asyncio.run(open_store(where))
        assert "secret" not in str(away.value)
        assert "127.0.0.1" not in str(away.value)


# --- TLS ---


def make_certificate(cert: Path, key: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    key.chmod(0o600)


needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl program")
ASKS_FOR_TLS = struct.pack("!II", 8, 80877103)


@asynccontextmanager
async def over_tls(cert: Path, key: Path) -> AsyncIterator[int]:
    """A port at which the shared server speaks TLS alone; the wheel's own was built without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if await reader.readexactly(8) == ASKS_FOR_TLS:
                writer.write(b"S")
                await writer.start_tls(context)
                inside = await asyncio.open_unix_connection(shared().sockets / ".s.PGSQL.5432")
                pumping = [(reader, inside[1]), (inside[0], writer)]
                await asyncio.gather(*(pump(*pipe) for pipe in pumping))
        except (OSError, asyncio.IncompleteReadError):
            pass  # a client that does not trust the certificate hangs up
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


@needs_openssl
@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_tls_is_as_strict_as_the_url_says(mode: str, tmp_path: Path) -> None:
    trusted, foreign, key = tmp_path / "a.crt", tmp_path / "b.crt", tmp_path / "a.key"
    make_certificate(foreign, tmp_path / "b.key")
    make_certificate(trusted, key)

    async def main(name: str) -> None:
        async with over_tls(trusted, key) as port:
            url = f"postgresql://postgres@127.0.0.1:{port}/{name}?sslmode={mode}"
            await assert_opens(f"{url}&sslrootcert={trusted}")
            with pytest.raises(ConfigError, match=r"certificate .* not trusted.*sslrootcert"):
                await open_store(f"{url}&sslrootcert={foreign}")
            if mode == "require":  # any certificate will do, unless one says which to trust
                await assert_opens(url)
            with pytest.raises(StorageAway):
                await open_store(url.replace(mode, "disable"))

    with database() as url:
        asyncio.run(main(name_in(url)))


async def assert_opens(url: str) -> None:
    store = await open_store(url)
    await store.ping()
    await store.close()


def test_a_machine_that_falls_silent_is_noticed() -> None:
    """By the kernel: the driver would wait for an answer without end."""
    with socket.socket() as wire:
        watch_silence(wire)
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
        probing = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [wire.getsockopt(socket.IPPROTO_TCP, option) for option in probing] == [5, 5, 3]


# --- what its transactions are ---


def test_only_what_may_be_forgotten_does_not_wait_for_the_disk() -> None:
    async def main(store: SqlStore) -> None:
        told = []
        for way in (store._database.write, store._database.relaxed):
            async with way() as connection:
                isolation = await connection.exec_driver_sql("SHOW transaction_isolation")
                commit = await connection.exec_driver_sql("SHOW synchronous_commit")
                told.append((isolation.scalar_one(), commit.scalar_one()))
        assert told == [("read committed", "on"), ("read committed", "off")]

    with_database(main)


def test_a_reader_holds_no_transaction_open() -> None:
    """It would keep the server from cleaning up behind everybody's writes."""
    seen = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'"

    async def main(store: SqlStore) -> None:
        async with store._database.read() as connection:
            await connection.execute(select(batches))
            assert await value_of(store, seen) == 0
        async with store._database.write() as connection:
            await connection.execute(select(batches))
            assert await value_of(store, seen) == 1

    with_database(main)


def test_writers_of_one_account_wait_for_each_other_and_others_do_not() -> None:
    async def main(store: SqlStore) -> None:
        database = store._database
        async with database.write() as connection:
            await database.serialize(connection, "quota", "acme")
            await store.files.add(a_file(account="other"), PLENTY)
            adding = asyncio.create_task(store.files.add(a_file("2"), PLENTY))
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while await value_of(store, waiting) == 0:
                assert not adding.done()
        await adding

    with_database(main)


def test_locks_are_told_apart_by_all_of_their_names() -> None:
    keys = {
        lock_key("a", "b"),
        lock_key("ab"),
        lock_key("a"),
        lock_key("b", "a"),
        lock_key("a\udc80"),
    }
    assert len(keys) == 5
    assert all(-(2**63) <= key < 2**63 for key in keys)


def test_text_is_sorted_by_its_bytes_whatever_the_server_s_language() -> None:
    """As SQLite sorts it."""
    asked = (
        "SELECT string_agg(table_name || '.' || column_name, ' ') "
        "FROM information_schema.columns WHERE table_schema = 'public' "
        "AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )

    async def main(store: SqlStore) -> None:
        assert await value_of(store, asked) is None

    with_database(main)


# --- roles, and a full disk ---


def test_a_role_that_may_only_read_and_write_rows_is_enough() -> None:
    """Where somebody else migrates. ``RIGHTS`` is what the documentation lists."""
    server = shared()

    async def main(url: str) -> None:
        store = await open_store(url)
        batch = await planned(store, a_batch())
        claimed = await store.shards.claim(await store.shards.of_batch(batch.id))
        await store.shards.tally([a_tally(claimed[0], 1)])
        await store.rates.admit("acme", RateRule.BATCH_CREATE, Rate(1, 1.0), T0)
        await store.files.add(a_file(), PLENTY)
        assert await store.files.delete("acme", a_file().id) == batch.id
        store._database.fence(0)
        await store.files.reserve(Reservation("file-batch-9", "acme", 1, T0), PLENTY, T0)
        await store.close()

    with database() as url:
        server.run("CREATE ROLE clerk LOGIN")
        with pytest.raises(ConfigError):
            asyncio.run(open_store(server.url(name_in(url), user="clerk")))
        for right in RIGHTS:
            server.run(right.format(database=name_in(url), role="clerk"), name_in(url))
        asyncio.run(main(server.url(name_in(url), user="clerk")))
        server.run("DROP OWNED BY clerk", name_in(url))
    server.run("DROP ROLE clerk")


def test_too_many_connections_are_a_database_that_is_away() -> None:
    server = shared()

    async def main(url: str) -> None:
        store = await open_store(url)
        async with store._database.write(), store._database.write():
            with pytest.raises(StorageAway):
                await store.files.get("acme", "file-batch-1")
        assert await store.files.get("acme", "file-batch-1") is None
        await store.close()

    with database() as url:
        name = name_in(url)
        server.run("CREATE ROLE few LOGIN CONNECTION LIMIT 2")
        for right in RIGHTS:
            server.run(right.format(database=name, role="few"), name)
        asyncio.run(main(server.url(name, user="few")))
        server.run("DROP OWNED BY few", name)
    server.run("DROP ROLE few")


def test_a_full_disk_is_said_to_be_one() -> None:
    full = """
        CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER no_room BEFORE INSERT ON files EXECUTE FUNCTION no_room()
    """
    server = shared()

    async def main(url: str) -> None:
        store = await open_store(url)
        server.run(full, name_in(url))
        with pytest.raises(StorageFull, match="make room where PostgreSQL"):
            await store.files.add(a_file(), PLENTY)
        assert (await store.files.list("acme", FileQuery(10))).items == ()
        server.run("DROP TRIGGER no_room ON files", name_in(url))
        await store.files.add(a_file(), PLENTY)
        await store.close()

    with database() as url:
        asyncio.run(main(url))


# --- restarts ---


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    with running() as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_a_server_that_comes_back_is_used_again(
    how: signal.Signals, own_server: PostgresServer
) -> None:
    """At once: connections that it closed meanwhile are not lent out."""

    async def main() -> None:
        store = await open_store(own_server.url())
        ways: list[Callable[[], Awaitable[object]]] = [
            lambda: store.files.get("acme", "file-batch-1"),
            lambda: store.files.delete("acme", "file-batch-1"),
            lambda: store.files.release("file-batch-1"),
        ]
        for _ in range(2):
            await asyncio.gather(*(way() for way in ways * 3))
            own_server.stop(how)
            for way in ways:
                with pytest.raises(StorageAway, match="try again"):
                    await way()
            own_server.start()
            for way in ways:
                await way()
        await store.close()

    asyncio.run(main())


def test_between_the_last_word_of_a_server_and_its_silence_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The driver has an error of its own for that, outside of its other families."""

    async def half_ended(*_: object, **__: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2)")

    async def main(store: SqlStore) -> None:
        for way in (
            lambda: store.files.get("acme", "file-batch-1"),
            lambda: store.files.delete("acme", "file-batch-1"),
        ):
            with monkeypatch.context() as patch:
                patch.setattr(asyncpg.Connection, "prepare", half_ended)
                with pytest.raises(StorageAway, match="try again"):
                    await way()
            await way()

    with_database(main)


def test_a_transaction_that_is_cut_stores_nothing(own_server: PostgresServer) -> None:
    async def main() -> None:
        store = await open_store(own_server.url())

        async def cut() -> None:
            async with store._database.write() as connection:
                await connection.execute(text("DELETE FROM workspaces"))
                own_server.stop(signal.SIGQUIT)
                await connection.execute(text("DELETE FROM accounts"))

        with pytest.raises(StorageAway):
            await cut()
        own_server.start()
        assert [account.id for account in await store.accounts.list()] == ["default"]
        assert len(await store.workspaces.list("default")) == 1
        await store.close()

    asyncio.run(main())


def test_callers_see_nothing_but_that_it_is_away_while_it_restarts(
    own_server: PostgresServer,
) -> None:
    """Whatever they were at when it went; and what was acknowledged is there."""
    acknowledged: list[str] = []
    odd: list[BaseException] = []
    goals: asyncio.Queue[None] = asyncio.Queue()

    async def call(store: SqlStore, caller: int, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            batch = a_batch(f"{caller}-{number}")
            try:
                await store.batches.create(batch, None, ())
                await store.batches.get("acme", batch.id)
            except StorageAway:
                await asyncio.sleep(0)
            except Exception as error:
                odd.append(error)
                goals.put_nowait(None)
                return
            else:
                acknowledged.append(batch.id)
                if len(acknowledged) % 20 == 0:
                    goals.put_nowait(None)

    async def main() -> None:
        store = await open_store(own_server.url())
        stop = asyncio.Event()
        callers = [asyncio.create_task(call(store, n, stop)) for n in range(6)]
        for how in (signal.SIGINT, signal.SIGQUIT):
            await goals.get()
            await asyncio.to_thread(own_server.stop, how)
            await asyncio.to_thread(own_server.start)
        await goals.get()
        stop.set()
        await asyncio.gather(*callers)
        assert odd == []
        there = {batch.id for batch in await store.batches.unfinished()}
        assert set(acknowledged) <= there
        await store.close()

    asyncio.run(main())


def test_a_lock_that_is_away_is_told_of_at_the_opening(own_server: PostgresServer) -> None:
    url = own_server.url()
    own_server.stop()
    with pytest.raises(BatchmillError) as away:
        asyncio.run(open_store(url))
    assert isinstance(away.value, StorageAway)


# --- plans ---

LOOKED_UP: dict[str, ClauseElement] = {
    "batches": with_sums(batch_list("acme", BatchQuery(20)), descending=True),
    "unfinished": with_sums(
        select(batches).where(batches.c.status.in_(UNFINISHED)), descending=False
    ),
    "files": file_list("acme", FileQuery(20)),
    "uses": uses_statement("acme", ["file-batch-1", "file-batch-2"], most=20),
    "due": outbox._due_statement(T0, 64),
    "running": shard_rows._RUNNING,
}


@pytest.mark.parametrize("name", sorted(LOOKED_UP))
def test_no_table_that_grows_need_be_read_whole(name: str) -> None:
    """There is an index for it; which is cheaper the server decides by its figures."""

    async def main(store: SqlStore) -> None:
        engine = store._database._engine
        compiled = LOOKED_UP[name].compile(engine, compile_kwargs={"literal_binds": True})
        async with store._database.write() as connection:
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            rows = await connection.exec_driver_sql(f"EXPLAIN {compiled}")
            plan = [row[0] for row in rows]
        assert [step for step in plan if "Seq Scan" in step] == [], plan

    with_database(main)


def test_a_claim_of_more_shards_than_a_statement_takes_is_split() -> None:
    async def main(store: SqlStore) -> None:
        batch = await planned(store, a_batch(), shards=1_500)
        waiting = await store.shards.of_batch(batch.id)
        assert len(await store.shards.claim(waiting)) == len(some_shards(batch, 1_500))

    with_database(main)
