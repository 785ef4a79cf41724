"""Filters: what an address narrows a page to, and addresses that keep it.

An address holds only what is chosen, so that it can be shared.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import Response

from batchmill.console.view.spans import CUSTOM
from batchmill.console.visit import Visit
from batchmill.service.administration import Administration
from batchmill.service.trends import Choices, Trends
from batchmill.service.usage_scope import UsageSpec

FORM: Final = "filters"


def read_filters(visit: Visit, names: Iterable[str]) -> dict[str, str]:
    """What the address says under each name; times only where a visitor chose their own."""
    chosen = {name: visit.value(name) for name in names}
    if chosen["range"] != CUSTOM:
        chosen |= {"since": "", "until": ""}
    return chosen


def address(visit: Visit, path: str, chosen: Mapping[str, str], **more: str) -> str:
    """A page with what is chosen, and what else is said; empty texts are left out."""
    said = {name: text for name, text in {**chosen, **more}.items() if text}
    query = f"?{urlencode(said)}" if said else ""
    return f"{visit.desk.base}{path}{query}"


def remember(visit: Visit, response: Response, at: str) -> Response:
    """Have the browser's address be ``at`` where the filters of the page have changed."""
    if visit.request.headers.get("hx-trigger") == FORM:
        response.headers["hx-push-url"] = at
    return response


def is_renewal(visit: Visit) -> bool:
    """Whether only a part of the page is asked for, and not its filters."""
    return visit.request.headers.get("hx-request") == "true"


def only(text: str) -> tuple[str, ...]:
    """What a filter narrows a question to; all there is where nothing is chosen."""
    return (text,) if text else ()


async def usage_choices(
    visit: Visit, trends: Trends, admin: Administration, spec: UsageSpec | None
) -> dict[str, Any]:
    """What the filters of a page of usage offer. ``spec`` is None where it cannot be asked."""
    choices = Choices() if spec is None else await trends.choices(visit.caller, spec)
    return {"choices": choices, "accounts": await account_names(visit, admin)}


async def account_names(visit: Visit, admin: Administration) -> Mapping[str, str]:
    """The accounts that the visitor may look at, by id; none where that is their own alone."""
    caller = visit.caller
    if not (caller.is_operator and caller.is_default_workspace):
        return {}
    return {account.id: account.name for account in await admin.accounts.list()}
