"""Webhooks on their pages: endpoints, secrets shown once, tests, deliveries and their replay."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import NOON, run
from console_house import Visitor, open_console, text_of

from batchmill.console.pages.settings_scope import PAGE_ROWS
from batchmill.domain.account import Role
from batchmill.domain.post import FAILURES_TO_OPEN, FIRST_OPENING, Tried
from batchmill.domain.webhook import EVENT_TYPES, Delivery, WebhookEndpoint
from batchmill.service.caller import Caller
from batchmill.service.webhooks import MAX_ENDPOINTS, OLD_SECRET_SECONDS

EVIL = "<script>alert(1)</script>"
HOOKS = "/settings/webhooks"
DELIVERIES = f"{HOOKS}/deliveries"
URL = "https://hooks.example.com/in"
FORM = {"name": "Nightly", "url": URL, "event_types": ["batch.completed", "batch.failed"]}
READERS = [Role.MEMBER, Role.READ_ONLY]


async def hooks_of(visitor: Visitor) -> list[WebhookEndpoint]:
    found = await visitor.house.services.webhooks.list(Caller(), limit=MAX_ENDPOINTS)
    return list(found.items)


async def make(visitor: Visitor, **fields: object) -> WebhookEndpoint:
    given: dict[str, Any] = {**FORM, **fields}
    return await visitor.house.services.webhooks.create(Caller(), **given)


async def deliver(visitor: Visitor, endpoint_id: str | None, **more: object) -> Delivery:
    """A delivery that waits, or what ``more`` makes of it."""
    deliveries = await visitor.house.services.webhooks.deliveries(
        Caller(), endpoint_id=None, limit=100
    )
    number = len(deliveries.items)
    waiting = Delivery(
        id=f"whd_{number:032x}",
        account="default",
        event_id=f"evt_{number}",
        event_type="batch.completed",
        subject="batch_1",
        url=URL,
        payload='{"type":"batch.completed"}',
        created_at=NOON + number,
        next_at=NOON + 60,
        endpoint_id=endpoint_id,
    )
    made = replace(waiting, **more)  # type: ignore[arg-type]
    await visitor.house.store.webhooks.enqueue(made)
    return made


@asynccontextmanager
async def receiving(status: int) -> AsyncIterator[str]:
    """The URL of a receiver that answers so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\n\r\n" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"


def secret_in(page: httpx2.Response) -> str:
    found = re.search(r'id="secret"[^>]*value="(whsec_[^"]+)"', page.text)
    assert found, page.text
    return unescape(found[1])


def test_a_webhook_is_made_and_its_secret_shown_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            assert "There are no webhooks yet. Make one" in text_of(await visitor.get(HOOKS))
            made = await visitor.act(HOOKS, FORM, **{"hx-target": "made"})
            (hook,) = await hooks_of(visitor)
            assert secret_in(made) == hook.secret
            assert (hook.name, hook.url, list(hook.event_types)) == tuple(FORM.values())
            assert made.headers["hx-trigger"] == "settings-changed"
            for path in (HOOKS, f"{HOOKS}/{hook.id}", f"{HOOKS}/{hook.id}/secret"):
                page = await visitor.get(path)
                assert "Nightly" in text_of(page)
                assert hook.secret not in page.text
            assert hook.secret_hint in (await visitor.get(f"{HOOKS}/{hook.id}")).text
            assert hook.secret not in str(visitor.house.logged)

    run(main())


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "1 to 100 characters"),
        ("name", "x" * 101, "1 to 100 characters"),
        ("url", "ftp://example.com", "Invalid 'url'"),
        ("url", "http://127.0.0.1/", "Invalid 'url'"),
        ("event_types", [], "name at least one event type"),
        ("event_types", "batch.dreamt", "Invalid value: 'batch.dreamt'"),
    ],
)
def test_what_cannot_be_is_refused_in_making_and_in_changing(
    tmp_path: Path, field: str, value: object, said: str
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            refused = await visitor.act(HOOKS, {**FORM, field: value})
            assert refused.status_code == 400
            assert said in text_of(refused)
            assert not await hooks_of(visitor)
            hook = await make(visitor)
            again = await visitor.act(f"{HOOKS}/{hook.id}", {**FORM, field: value})
            assert (again.status_code, said in text_of(again)) == (400, True)
            assert await hooks_of(visitor) == [hook]

    run(main())


def test_there_are_at_most_twenty(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for _ in range(MAX_ENDPOINTS - 1):
                await make(visitor)
            assert (await visitor.act(HOOKS, FORM)).status_code == 200
            refused = await visitor.act(HOOKS, FORM)
            assert "Too many webhook endpoints" in text_of(refused)
            assert "at most 20" in text_of(await visitor.get(HOOKS))

    run(main())


def test_a_webhook_is_changed_and_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            one = f"{HOOKS}/{hook.id}"
            page = await visitor.get(one)
            checked = re.findall(r'value="([\w.]+)" checked', page.text)
            assert checked == ["batch.completed", "batch.failed"]
            fields = {"name": EVIL, "url": f"{URL}?a=1&b=2", "event_types": "batch.expired"}
            done = await visitor.act(one, fields)
            assert done.headers["hx-redirect"] == f"/console{one}"
            page = await visitor.get(one)
            assert EVIL not in page.text
            assert f"Webhook {EVIL} is changed." in text_of(page)
            assert f"{URL}?a=1&b=2" in text_of(page)
            assert EVIL not in (await visitor.get(HOOKS)).text
            gone = await visitor.act(f"{one}/delete")
            assert gone.headers["hx-redirect"] == f"/console{HOOKS}"
            assert not await hooks_of(visitor)
            assert (await visitor.get(one)).status_code == 404
            assert (await visitor.act(f"{one}/delete")).status_code == 404

    run(main())


@pytest.mark.parametrize("keeps", [True, False])
def test_a_secret_is_changed_with_or_without_a_day_for_the_old_one(
    tmp_path: Path, keeps: bool
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            one = f"{HOOKS}/{hook.id}"
            fields = {"keep_old": "yes"} if keeps else {}
            rotated = await visitor.act(f"{one}/secret", fields, **{"hx-target": "made"})
            (after,) = await hooks_of(visitor)
            assert secret_in(rotated) == after.secret != hook.secret
            assert after.old_secret == (hook.secret if keeps else None)
            words = "the one before signs too until 2025-10-10 08:53:20"
            assert (words in text_of(await visitor.get(one))) is keeps
            visitor.house.clock.time += OLD_SECRET_SECONDS
            assert words not in text_of(await visitor.get(one))

    run(main())


@pytest.mark.parametrize(("status", "look"), [(204, "good"), (299, "good"), (500, "bad")])
def test_a_test_says_what_the_receiver_answered(tmp_path: Path, status: int, look: str) -> None:
    async def main() -> None:
        async with open_console(tmp_path, private_hooks=True) as visitor, receiving(status) as url:
            hook = await make(visitor, url=url)
            said = await visitor.act(
                f"{HOOKS}/{hook.id}/test",
                {"event_type": "batch.failed"},
                **{"hx-target": "tested"},
            )
            assert f"answered {status} to a sample of batch.failed" in text_of(said)
            assert f'class="message {look}"' in said.text
            assert "<html" not in said.text

    run(main())


def test_a_test_of_a_receiver_that_is_away_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, private_hooks=True) as visitor:
            async with receiving(200) as url:
                hook = await make(visitor, url=url)
            path = f"{HOOKS}/{hook.id}/test"
            said = await visitor.act(path, {"event_type": "batch.failed"})
            assert (said.status_code, "gave no answer" in text_of(said)) == (400, True)
            assert (await visitor.act(path, {"event_type": "x"})).status_code == 400

    run(main())


def test_a_receiver_that_fails_is_told_of(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            sent = await deliver(visitor, hook.id)
            assert "active" in text_of(await visitor.get(HOOKS))
            for number in range(1, FAILURES_TO_OPEN):
                await visitor.house.store.webhooks.settle(sent, Tried(NOON, status=500))
                said = f"failing {number} in a row"
                assert said in text_of(await visitor.get(HOOKS))
            await visitor.house.store.webhooks.settle(sent, Tried(NOON, status=500))
            words = "paused until 2025-10-09 08:54:20 : 8 failures in a row"
            assert words in text_of(await visitor.get(HOOKS))
            visitor.house.clock.time = NOON + FIRST_OPENING
            assert "failing 8 in a row" in text_of(await visitor.get(f"{HOOKS}/{hook.id}"))

    run(main())


def test_deliveries_say_what_became_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            one = f"{HOOKS}/{hook.id}"
            assert "Nothing was sent yet." in text_of(await visitor.get(one))
            ended = {"next_at": None, "attempts": 2}
            await deliver(visitor, hook.id, **ended, delivered_at=NOON + 5, last_status=200)
            quiet = await visitor.get(one)
            assert "delivered 2025-10-09 08:53:25 2 200" in text_of(quiet)
            assert 'hx-trigger="every 2s"' not in quiet.text
            given_up = {**ended, "given_up_at": NOON + 9, "last_error": EVIL}
            await deliver(visitor, hook.id, **given_up)
            said = text_of(await visitor.get(one))
            assert f"given up 2025-10-09 08:53:29 2 — {EVIL}" in said
            await deliver(visitor, hook.id, payload=EVIL)
            page = await visitor.renew(one)
            assert "pending next try 2025-10-09 08:54:20 0 —" in text_of(page)
            assert 'hx-trigger="every 2s"' in page.text
            assert EVIL not in page.text
            visitor.house.clock.time = NOON + 60
            assert "pending due since" in text_of(await visitor.get(one))

    run(main())


def test_all_deliveries_name_their_receivers(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            await deliver(visitor, hook.id)
            await deliver(visitor, None, url=f"{URL}/{EVIL}")
            await deliver(visitor, "whe_gone", event_type="spending.x", subject="default")
            page = await visitor.get(DELIVERIES)
            said = text_of(page)
            assert f'href="/console{HOOKS}/{hook.id}"' in page.text
            assert f"callback of the batch {URL}/{EVIL}" in said
            assert "a deleted webhook whe_gone" in said
            assert page.text.count('href="/console/batches/batch_1"') == 2
            assert EVIL not in page.text
            own = text_of(await visitor.get(f"{HOOKS}/{hook.id}"))
            assert "callback of the batch" not in own

    run(main())


def test_deliveries_are_cut_into_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            for _ in range(PAGE_ROWS):
                await deliver(visitor, hook.id)
            one = f"{HOOKS}/{hook.id}"
            for path in (one, DELIVERIES):
                assert 'rel="next"' not in (await visitor.get(path)).text
            await deliver(visitor, hook.id)
            for path in (one, DELIVERIES):
                first = await visitor.get(path)
                older = re.search(r'href="/console([^"]+)" rel="next"', first.text)
                assert older
                second = await visitor.get(unescape(older[1]))
                assert len(re.findall('id="row-whd_', second.text)) == 1
                assert f'id="newest" href="/console{path}"' in second.text
            assert (await visitor.get(f"{DELIVERIES}?after=whd_nobody")).status_code == 404
            assert (await visitor.get(f"{DELIVERIES}?after=%00")).status_code == 200

    run(main())


def test_an_event_is_sent_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            hook = await make(visitor)
            sent = await deliver(visitor, hook.id, next_at=None, delivered_at=NOON)
            done = await visitor.act(f"{DELIVERIES}/{sent.id}/replay")
            assert done.headers["hx-redirect"] == f"/console{HOOKS}/{hook.id}"
            page = await visitor.get(f"{HOOKS}/{hook.id}")
            assert "The event batch.completed is sent again." in text_of(page)
            assert len(re.findall('id="row-whd_', page.text)) == 2
            called = await deliver(visitor, None)
            done = await visitor.act(f"{DELIVERIES}/{called.id}/replay")
            assert done.headers["hx-redirect"] == f"/console{DELIVERIES}"
            gone = await deliver(visitor, "whe_gone")
            assert (await visitor.act(f"{DELIVERIES}/{gone.id}/replay")).status_code == 409
            assert (await visitor.act(f"{DELIVERIES}/whd_nobody/replay")).status_code == 404

    run(main())


@pytest.mark.parametrize("role", READERS)
def test_who_is_no_admin_reads_and_changes_nothing(tmp_path: Path, role: Role) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            hook = await make(visitor)
            sent = await deliver(visitor, hook.id)
            await visitor.sign_in(await visitor.make_key(role))
            one = f"{HOOKS}/{hook.id}"
            for path in (HOOKS, one, DELIVERIES):
                page = await visitor.get(path)
                assert page.status_code == 200, path
                shown = re.findall(r'hx-post="/console/settings[^"]*"', page.text)
                assert not shown, path
                assert "data-dialog=" not in page.text
            for path in (f"{HOOKS}/new", f"{one}/secret"):
                assert (await visitor.get(path)).status_code == 403, path
            replay = f"{DELIVERIES}/{sent.id}/replay"
            for path in (HOOKS, one, f"{one}/delete", f"{one}/secret", f"{one}/test", replay):
                assert (await visitor.act(path, FORM)).status_code == 403, path
            assert await hooks_of(visitor) == [hook]

    run(main())


def test_the_form_offers_every_event_and_ticks_those_of_batches(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            page = await visitor.get(f"{HOOKS}/new")
            for one in EVENT_TYPES:
                is_ticked = f'value="{one}" checked' in page.text
                assert is_ticked is one.startswith("batch."), one
            part = await visitor.renew(f"{HOOKS}/new", "dialog-body")
            assert "<html" not in part.text
            assert 'id="dialog-title"' in part.text

    run(main())
