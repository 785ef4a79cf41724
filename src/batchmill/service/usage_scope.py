"""Whose usage a caller may see, and from when to when it is asked for.

Callers of an account's default workspace see the account, others their own
workspace alone; admins of the operator's account may name any account, or all.
"""

import math
from dataclasses import dataclass

from batchmill.domain.caps import month_start
from batchmill.domain.errors import InvalidRequest, NotFound
from batchmill.domain.periods import LATEST, Bucket
from batchmill.ports import Dimension, Store, UsageFilter
from batchmill.service.accounts import account_for
from batchmill.service.caller import Caller
from batchmill.service.refusals import shorten

EVERY_ACCOUNT = "all"


@dataclass(frozen=True, slots=True)
class UsageSpec:
    """What is asked for; ``until`` is just behind the last instant. None is up to the use-case.

    ``after`` is what the page before said; ``account`` None is the caller's own.
    """

    since: float | None = None
    until: float | None = None
    bucket: Bucket | None = None
    group_by: tuple[Dimension, ...] = ()
    models: tuple[str, ...] = ()
    workspaces: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    account: str | None = None
    limit: int = 1000
    after: str | None = None


async def account_scope(caller: Caller, named: str | None, store: Store) -> str | None:
    """The account that is asked about, None for all; raises NotFound for another's."""
    if named == EVERY_ACCOUNT and caller.is_operator and caller.is_default_workspace:
        return None
    if named not in (None, caller.account) and not caller.is_default_workspace:
        raise NotFound(f"No account found with id '{shorten(named)}'.", param="account")
    return await account_for(caller, named, store)


def workspace_scope(caller: Caller, named: tuple[str, ...]) -> tuple[str, ...]:
    """The workspaces that are asked about, none for every one; raises NotFound for another's."""
    if caller.is_default_workspace:
        return named
    for workspace in named:
        if workspace != caller.workspace:
            message = f"No workspace found with id '{shorten(workspace)}'."
            raise NotFound(message, param="workspace")
    return (caller.workspace,)


async def usage_scope(
    caller: Caller, spec: UsageSpec, store: Store, *, since: float, until: float
) -> UsageFilter:
    """The conditions of what the caller asks for, within these times; raises NotFound."""
    return UsageFilter(
        account=await account_scope(caller, spec.account, store),
        since=since,
        until=until,
        models=spec.models,
        workspaces=workspace_scope(caller, spec.workspaces),
        keys=spec.keys,
        batches=spec.batches,
    )


def time_span(spec: UsageSpec, now: float, *, default: float | None = None) -> tuple[float, float]:
    """From when until when: now at the latest, and the month of that; raises InvalidRequest.

    ``default`` seconds take the place of the month.
    """
    until = math.floor(now) + 1.0 if spec.until is None else spec.until
    since = spec.since
    if since is None:
        last = max(0.0, until - 1)
        since = month_start(last) if default is None else max(0.0, until - default)
    if not 0 <= since < until <= LATEST:
        message = (
            "Invalid 'start_time': it must lie before 'end_time', and both between the years "
            "1970 and 2100."
        )
        raise InvalidRequest(message, param="start_time", code="invalid_value")
    return since, until
