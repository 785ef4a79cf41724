"""A move out of a data folder, put together: what goes, from where, to where."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from batchmill.config import DataSettings, Settings
from batchmill.domain.errors import ConfigError
from batchmill.ports.moving import MoveWatch
from batchmill.ports.secrets import SESSIONS
from batchmill.service.carrying import Places
from batchmill.service.moving import Freight, Mover, Origin, Route, weigh_freight
from batchmill.store.database import Database
from batchmill.store.transfer import SqlInventory, SqlRowMove, make_store, open_for_moving
from batchmill.wiring.moved import FolderLog, Kind, own_place, place_of, read_moves
from batchmill.wiring.parts import Paths, check_bytes, database_of, open_bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes from ``folder`` to where, by kind; nothing where it has all gone before."""

    folder: Path
    settings: Settings
    places: Mapping[Kind, str]

    def moves(self, kind: Kind) -> bool:
        """Whether what is of this kind goes."""
        return kind in self.places

    def is_settled(self) -> bool:
        """Whether everything went with earlier moves."""
        return not self.places


def plan_move(settings: Settings, folder: Path) -> Plan:
    """What is to go where ``settings`` say; raises ConfigError where that makes no sense."""
    moves = read_moves(folder)
    places: dict[Kind, str] = {}
    for kind in Kind:
        place, step = place_of(kind, settings), moves.get(kind)
        if step is not None and step.ended_at is not None:
            if place != step.to:
                raise ConfigError(f"{kind.subject} of {folder} moved to {step.to} before.")
        elif place != own_place(kind, folder) and _holds(kind, folder):
            places[kind] = place
    if not places and all(step.ended_at is None for step in moves.values()):
        raise _nothing_to_move(folder)
    return Plan(folder, settings, places)


def _holds(kind: Kind, folder: Path) -> bool:
    paths = Paths(folder)
    if kind is Kind.DATABASE:
        return paths.database.exists()
    return paths.blobs.exists() or paths.journal.exists()


def _nothing_to_move(folder: Path) -> ConfigError:
    if not any(_holds(kind, folder) for kind in Kind):
        return ConfigError(
            f"There is no data of batchmill in {folder}: name its folder with --from."
        )
    return ConfigError(
        f"The settings name no other place than {folder}: set data.database or data.blobs to where "
        "the data shall go."
    )


async def weigh_move(plan: Plan) -> Freight:
    """What there is to move; nothing is written, but the source is brought up to date."""
    async with AsyncExitStack() as stack:
        origin = await _open_origin(plan, stack)
        return await weigh_freight(
            origin, rows=plan.moves(Kind.DATABASE), bytes_too=plan.moves(Kind.BLOBS)
        )


@asynccontextmanager
async def open_mover(
    plan: Plan, watch: MoveWatch, *, leave_damaged: bool = False
) -> AsyncIterator[Mover]:
    """What moves along ``plan``; closed at the end. The caller holds the folder's lock.

    Raises ConfigError, StorageAway and StorageFull.
    """
    async with AsyncExitStack() as stack:
        origin = await _open_origin(plan, stack)
        target = rows = None
        if plan.moves(Kind.BLOBS):
            await check_bytes(plan.settings)
            target = _open_places(plan.settings, stack)
        if plan.moves(Kind.DATABASE):
            source = await _open_database(Paths(plan.folder).database, stack)
            into = await _open_database(database_of(plan.settings), stack)
            rows = SqlRowMove(source, into, _kept_secrets(plan))
            _copy_session_secret(plan)
        log = FolderLog(plan.folder, dict(plan.places))
        yield Mover(Route(origin, target, rows, log), watch, leave_damaged=leave_damaged)


async def settle(plan: Plan) -> None:
    """Take the last step of a move that is written down as ended, should it be missing."""
    if plan.moves(Kind.DATABASE):
        return
    async with AsyncExitStack() as stack:
        database = await _open_database(database_of(plan.settings), stack)
        await SqlRowMove(database, database, {}).release()


async def _open_origin(plan: Plan, stack: AsyncExitStack) -> Origin:
    moves_rows = plan.moves(Kind.DATABASE)
    where = Paths(plan.folder).database if moves_rows else database_of(plan.settings)
    database = await _open_database(where, stack)
    own = plan.settings.model_copy(update={"data": DataSettings(dir=plan.folder)})
    return Origin(make_store(database), SqlInventory(database), _open_places(own, stack))


async def _open_database(where: str | Path, stack: AsyncExitStack) -> Database:
    database = await open_for_moving(where)
    stack.push_async_callback(database.close)
    return database


def _open_places(settings: Settings, stack: AsyncExitStack) -> Places:
    blobs, journal = open_bytes(settings)
    stack.push_async_callback(journal.close)
    return Places(blobs, journal)


def _kept_secrets(plan: Plan) -> Mapping[str, bytes]:
    """What the source keeps in a file and a shared database as a row."""
    secret = Paths(plan.folder).session_secret
    if not plan.settings.data.is_shared or not secret.exists():
        return {}
    return {SESSIONS: secret.read_bytes()}


def _copy_session_secret(plan: Plan) -> None:
    """Who is signed in stays so in another folder too, unless a server has been there before."""
    source, target = Paths(plan.folder).session_secret, Paths(plan.settings.data.dir).session_secret
    if not plan.settings.data.is_shared and source.exists() and not target.exists():
        draft = target.with_name(f".{target.name}")
        shutil.copyfile(source, draft)
        draft.chmod(0o600)
        draft.replace(target)
