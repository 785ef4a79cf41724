"""Webhooks: who is told when batches end, and what became of telling them.

A signing secret is shown once, in the answer to its making, and stands nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.pages.settings_keys import CHANGED
from batchmill.console.pages.settings_scope import PAGE_ROWS, Scope, read_after
from batchmill.console.visit import Visit
from batchmill.domain.post import Tried
from batchmill.domain.webhook import EVENT_TYPES, Delivery, WebhookEndpoint
from batchmill.door.access import Access
from batchmill.ports import Page
from batchmill.service.services import Services
from batchmill.service.webhooks import MAX_ENDPOINTS, MAX_NAME_CHARS, EndpointSpec

_WEBHOOKS: Final = "/settings/webhooks"
_DELIVERIES: Final = f"{_WEBHOOKS}/deliveries"
_ONE: Final = f"{_WEBHOOKS}/{{endpoint_id}}"


class SettingsWebhooksPages:
    """Endpoints, and the deliveries to them."""

    def __init__(self, services: Services) -> None:
        self._webhooks = services.webhooks

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page(_WEBHOOKS, self.list, Access.READ),
            page(f"{_WEBHOOKS}/new", self.ask, Access.ADMIN),
            page(_DELIVERIES, self.list_deliveries, Access.READ),
            action(f"{_DELIVERIES}/{{delivery_id}}/replay", self.replay, Access.ADMIN),
            action(_WEBHOOKS, self.create, Access.ADMIN),
            page(_ONE, self.look, Access.READ),
            action(_ONE, self.change, Access.ADMIN),
            action(f"{_ONE}/delete", self.delete, Access.ADMIN),
            page(f"{_ONE}/secret", self.ask_rotation, Access.ADMIN),
            action(f"{_ONE}/secret", self.rotate, Access.ADMIN),
            action(f"{_ONE}/test", self.test, Access.ADMIN),
        ]

    async def list(self, visit: Visit) -> Response:
        """A page of endpoints, the newest first."""
        after = read_after(visit)
        found = await self._webhooks.list(visit.caller, limit=PAGE_ROWS, after=after)
        rows = [EndpointRow(one, visit.now) for one in found.items]
        return visit.show(
            "settings_webhooks.html",
            scope=_own(visit),
            rows=rows,
            most=MAX_ENDPOINTS,
            **_around(found, after, _WEBHOOKS),
        )

    async def ask(self, visit: Visit) -> Response:
        """What a new endpoint is to be told, and where."""
        return visit.show("settings_webhook_new.html", scope=_own(visit), **_CHOICES)

    async def create(self, visit: Visit) -> Response:
        """Make an endpoint, and show its secret this once."""
        form = await visit.form()
        made = await self._webhooks.create(
            visit.caller,
            name=form.value("name"),
            url=form.value("url"),
            event_types=form.values("event_types"),
        )
        return _show_secret(visit, made, f"Webhook {made.name} is made")

    async def look(self, visit: Visit) -> Response:
        """An endpoint, and what was sent to it."""
        endpoint = await self._webhooks.retrieve(visit.caller, visit.part("endpoint_id"))
        return await self._show_deliveries(
            visit,
            "settings_webhook.html",
            path=f"{_WEBHOOKS}/{endpoint.id}",
            endpoint=endpoint,
            row=EndpointRow(endpoint, visit.now),
            tested=None,
            **_CHOICES,
        )

    async def change(self, visit: Visit) -> Response:
        """Change an endpoint."""
        form = await visit.form()
        spec = EndpointSpec(form.value("name"), form.value("url"), form.values("event_types"))
        changed = await self._webhooks.update(visit.caller, visit.part("endpoint_id"), spec)
        return visit.go(f"{_WEBHOOKS}/{changed.id}", f"Webhook {changed.name} is changed.")

    async def delete(self, visit: Visit) -> Response:
        """Delete an endpoint."""
        await self._webhooks.delete(visit.caller, visit.part("endpoint_id"))
        return visit.go(_WEBHOOKS, "The webhook is deleted.")

    async def ask_rotation(self, visit: Visit) -> Response:
        """Whether the old secret goes on for a while."""
        endpoint = await self._webhooks.retrieve(visit.caller, visit.part("endpoint_id"))
        return visit.show("settings_webhook_secret.html", scope=_own(visit), endpoint=endpoint)

    async def rotate(self, visit: Visit) -> Response:
        """Give an endpoint a new secret, and show it this once."""
        keep_old = (await visit.form()).given("keep_old") is not None
        rotated = await self._webhooks.rotate_secret(
            visit.caller, visit.part("endpoint_id"), keep_old=keep_old
        )
        return _show_secret(visit, rotated, f"Webhook {rotated.name} has a new secret")

    async def test(self, visit: Visit) -> Response:
        """Send a sample, and show what the receiver answered."""
        event_type = (await visit.form()).value("event_type")
        outcome = await self._webhooks.test(visit.caller, visit.part("endpoint_id"), event_type)
        return visit.show(
            "settings_webhook_tested.html",
            scope=_own(visit),
            tested=outcome,
            is_fine=Tried(visit.now, outcome.status).is_acknowledged,
        )

    async def list_deliveries(self, visit: Visit) -> Response:
        """What was sent to every endpoint, and to the callbacks of batches."""
        found = await self._webhooks.list(visit.caller, limit=MAX_ENDPOINTS)
        names = {one.id: one.name for one in found.items}
        return await self._show_deliveries(
            visit, "settings_deliveries.html", path=_DELIVERIES, endpoint=None, names=names
        )

    async def replay(self, visit: Visit) -> Response:
        """Send an event again."""
        again = await self._webhooks.replay(visit.caller, visit.part("delivery_id"))
        page = _DELIVERIES if again.endpoint_id is None else f"{_WEBHOOKS}/{again.endpoint_id}"
        return visit.go(page, f"The event {again.event_type} is sent again.")

    async def _show_deliveries(
        self,
        visit: Visit,
        template: str,
        *,
        path: str,
        endpoint: WebhookEndpoint | None,
        **context: Any,
    ) -> Response:
        after = read_after(visit)
        found = await self._webhooks.deliveries(
            visit.caller,
            endpoint_id=None if endpoint is None else endpoint.id,
            limit=PAGE_ROWS,
            after=after,
        )
        rows = [DeliveryRow(one) for one in found.items]
        return visit.show(
            template,
            scope=_own(visit),
            endpoint=endpoint,
            rows=rows,
            is_live=any(row.delivery.status == "pending" for row in rows),
            **_around(found, after, path),
            **context,
        )


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint as the pages show it."""

    endpoint: WebhookEndpoint
    now: float

    @property
    def paused_until(self) -> float | None:
        """Until when nothing is sent to it, because its receiver failed too often."""
        until = self.endpoint.open_until
        return until if until is not None and self.now < until else None

    @property
    def old_until(self) -> float | None:
        """Until when the secret before this one signs as well."""
        signs_twice = len(self.endpoint.secrets(self.now)) > 1
        return self.endpoint.old_secret_until if signs_twice else None


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery as a line of the list shows it."""

    delivery: Delivery

    @property
    def batch_id(self) -> str | None:
        """The batch that it tells of, if it tells of one."""
        subject = self.delivery.subject
        return subject if subject.startswith("batch_") else None


_CHOICES: Final[dict[str, Any]] = {"event_types": EVENT_TYPES, "most_chars": MAX_NAME_CHARS}


def _own(visit: Visit) -> Scope:
    """Webhooks are seen to by their own account alone."""
    return Scope(None, visit.caller.account, ())


def _around(found: Page[Any], after: str | None, path: str) -> dict[str, Any]:
    """The addresses of the first page and of the next one."""
    has_more = found.has_more and bool(found.items)
    return {
        "newest": None if after is None else path,
        "older": _own_address(path, found.items[-1].id) if has_more else None,
    }


def _own_address(path: str, after: str) -> str:
    return Scope(None, "", ()).to(path, after=after)


def _show_secret(visit: Visit, endpoint: WebhookEndpoint, title: str) -> Response:
    response = visit.show(
        "settings_secret.html",
        title=title,
        label="The signing secret",
        secret=endpoint.secret,
        hint="Give it to the receiver, which verifies deliveries with it.",
        back=f"{_WEBHOOKS}/{endpoint.id}",
        scope=_own(visit),
    )
    response.headers["hx-trigger"] = CHANGED
    return response
