"""Webhooks through the door: as the official client manages them, from a batch's end to a receiver.

The receiver's own half of the work, ``webhooks.unwrap``, is the official client's too.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
import pytest
from api_house import NOON, House, as_object, fault, open_house, run
from openai import AsyncOpenAI

from batchmill.domain.batch import Event
from batchmill.domain.webhook import CALLBACK_KEY, EVENT_TYPES
from batchmill.engine.notices import Notices
from batchmill.service.webhooks import MAX_ENDPOINTS, MAX_NAME_CHARS
from batchmill.webhooks import Sender

URL = "https://hooks.example.com/"
HOOK: dict[str, Any] = {"name": "Nightly", "url": URL, "event_types": ["batch.completed"]}


@dataclass
class Receiver:
    """Who is told: what came, and what it answers."""

    url: str = ""
    status: int = 200
    heard: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
        headers = dict(line.split(": ", 1) for line in head)
        body = await reader.readexactly(int(headers["content-length"]))
        self.heard.append((headers, body))
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 0\r\n\r\n" % self.status)
        await writer.drain()
        writer.close()
        self.came.set()

    async def until(self, count: int) -> None:
        """Return when so many requests have come."""
        while len(self.heard) < count:
            self.came.clear()
            await self.came.wait()


@asynccontextmanager
async def listening() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/in"
    async with server:
        yield receiver


class RealClock:
    """The house's time, with pauses that really pass: the pump beside it must not spin."""

    def __init__(self, house: House) -> None:
        self._house = house

    def now(self) -> float:
        return self._house.clock.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@asynccontextmanager
async def pumping(house: House) -> AsyncIterator[None]:
    """A pump that sends what is due in the house."""
    notices = Notices(
        outbox=house.store.webhooks,
        postman=Sender(timeout=60.0, allow_private=True),
        clock=RealClock(house),
        jitter=lambda: 0.5,
        give_up_after=72 * 3600,
        poll_interval=0.01,
    )
    task = asyncio.create_task(notices.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def client_of(house: House) -> AsyncOpenAI:
    return AsyncOpenAI(
        base_url="http://localhost/v1", api_key="any", http_client=house.client, max_retries=0
    )


async def post(house: House, path: str, **body: Any) -> dict[str, Any]:
    answer = await house.client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 200, answer.text
    return as_object(answer)


async def refusal(house: House, path: str, **body: Any) -> tuple[int, str | None, str | None]:
    answer = await house.client.post(f"/v1/{path}", json=body)
    error = fault(answer)
    return answer.status_code, error["param"], error["code"]


async def deeds(house: House) -> list[str]:
    return [one.action for one in (await house.store.audit.list("default", limit=99)).items]


def test_the_official_client_manages_endpoints(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            hooks = client_of(house).webhooks
            made = await hooks.create(
                name="Nightly", url=URL, event_types=["batch.completed", "batch.failed"]
            )
            assert made.signing_secret.startswith("whsec_")
            found = await hooks.retrieve(made.id)
            assert (found.name, found.url, found.object) == (
                "Nightly",
                URL,
                "webhook_endpoint",
            )
            assert found.event_types == ["batch.completed", "batch.failed"]
            assert found.signing_secret_hint
            assert found.created_at == found.updated_at == int(NOON)
            house.clock.time += 10
            same = await hooks.update(made.id, name="Nightly")
            assert same.updated_at == int(NOON)
            changed = await hooks.update(made.id, name="Daily", event_types=["batch.expired"])
            assert (changed.name, changed.url) == ("Daily", URL)
            assert changed.event_types == ["batch.expired"]
            assert changed.updated_at == int(NOON) + 10
            rotated = await hooks.rotate_secret(made.id)
            assert rotated.signing_secret != made.signing_secret
            assert (await hooks.delete(made.id)).deleted
            with pytest.raises(openai.NotFoundError):
                await hooks.retrieve(made.id)
            assert (await hooks.event_types.list()).data == list(EVENT_TYPES)
            assert await deeds(house) == [
                "webhook.deleted",
                "webhook.secret_rotated",
                "webhook.changed",
                "webhook.created",
            ]

    run(main())


def test_the_official_client_walks_through_pages(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = [(await post(house, "webhook_endpoints", **HOOK))["id"] for _ in range(5)]
            listed = [one.id async for one in client_of(house).webhooks.list(limit=2)]
            assert listed == made[::-1]

    run(main())


def test_secrets_are_in_the_answers_to_create_and_rotate_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = await post(house, "webhook_endpoints", **HOOK)
            one = f"webhook_endpoints/{made['id']}"
            bare = await house.client.post(f"/v1/{one}/rotate_secret")
            rotated = as_object(bare)
            answers = [
                await house.client.get(f"/v1/{one}"),
                await house.client.get("/v1/webhook_endpoints"),
                await house.client.post(f"/v1/{one}", json={"name": "x"}),
                await house.client.get("/v1/admin/audit"),
            ]
            for secret in (made["signing_secret"], rotated["signing_secret"]):
                assert not any(secret in answer.text for answer in answers)
                assert secret not in str(house.logged)

    run(main())


def test_the_official_client_tests_an_endpoint_and_verifies_what_came(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, private_hooks=True) as house, listening() as receiver:
            house.clock.time = time.time()
            client = client_of(house)
            made = await client.webhooks.create(
                name="n", url=receiver.url, event_types=["batch.completed"]
            )
            receiver.status = 418
            tested = await client.webhooks.test(made.id, event_type="batch.failed")
            assert (tested.status_code, tested.success, tested.event_type) == (
                418,
                True,
                "batch.failed",
            )
            headers, body = receiver.heard[0]
            event = client.webhooks.unwrap(body, headers, secret=made.signing_secret)
            assert event.type == "batch.failed"
            with pytest.raises(openai.InvalidWebhookSignatureError):
                client.webhooks.unwrap(body + b" ", headers, secret=made.signing_secret)
            spending = await post(
                house, f"webhook_endpoints/{made.id}/test", event_type=EVENT_TYPES[-1]
            )
            assert spending["event_type"] == "spending.threshold_reached"
            assert (await post_list(house))["data"] == []

    run(main())


async def post_list(house: House, query: str = "") -> dict[str, Any]:
    answer = await house.client.get(f"/v1/webhook_deliveries{query}")
    assert answer.status_code == 200, answer.text
    return as_object(answer)


def test_a_test_that_nobody_answers_is_said_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, private_hooks=True) as house:
            async with listening() as receiver:
                url = receiver.url
            made = await post(house, "webhook_endpoints", **{**HOOK, "url": url})
            path = f"webhook_endpoints/{made['id']}/test"
            told = await refusal(house, path, event_type="batch.completed")
            assert told == (400, None, "webhook_receiver_unreachable")

    run(main())


def test_the_end_of_a_batch_reaches_the_receiver_signed_by_both_secrets(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, private_hooks=True) as house, listening() as receiver:
            house.clock.time = time.time()
            client = client_of(house)
            made = await client.webhooks.create(
                name="n", url=receiver.url, event_types=["batch.cancelled"]
            )
            new = await client.webhooks.rotate_secret(
                made.id, keep_old_secret_active_for_24_hours=True
            )
            batch = await house.create_batch(metadata={CALLBACK_KEY: f"{receiver.url}/callback"})
            await house.move(batch["id"], Event.CANCEL_REQUESTED)
            assert (await post_list(house))["data"] == []
            await house.move(batch["id"], Event.DELIVERED)
            async with pumping(house):
                await receiver.until(2)
            signed = next(one for one in receiver.heard if "webhook-signature" in one[0])
            plain = next(one for one in receiver.heard if "webhook-signature" not in one[0])
            for secret in (made.signing_secret, new.signing_secret):
                event = client.webhooks.unwrap(signed[1], signed[0], secret=secret)
                assert event.type == "batch.cancelled"
                assert event.data.id == batch["id"]
            assert plain[0]["webhook-id"] == signed[0]["webhook-id"] == event.id
            assert b'"task_status":"cancelled"' in plain[1]

    run(main())


def test_deliveries_are_listed_and_replayed_with_the_same_event(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, private_hooks=True) as house, listening() as receiver:
            hook = {"name": "n", "url": receiver.url, "event_types": ["batch.failed"]}
            made = await post(house, "webhook_endpoints", **hook)
            batch = await house.create_batch()
            await house.move(batch["id"], Event.REJECTED)
            (first,) = (await post_list(house))["data"]
            assert (first["status"], first["attempts"], first["subject"]) == (
                "pending",
                0,
                batch["id"],
            )
            async with pumping(house):
                await receiver.until(1)
                again = await post(house, f"webhook_deliveries/{first['id']}/replay")
                await receiver.until(2)
            assert again["id"] != first["id"]
            assert again["event_id"] == first["event_id"]
            ids = {headers["webhook-id"] for headers, _ in receiver.heard}
            assert ids == {first["event_id"]}
            newest = await post_list(house, f"?webhook_endpoint_id={made['id']}&limit=1")
            assert [one["id"] for one in newest["data"]] == [again["id"]]
            assert newest["has_more"]
            assert (await post_list(house, "?webhook_endpoint_id=we_other"))["data"] == []
            await house.client.delete(f"/v1/webhook_endpoints/{made['id']}")
            told = await refusal(house, f"webhook_deliveries/{first['id']}/replay")
            assert told == (409, None, "webhook_endpoint_deleted")

    run(main())


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "x" * (MAX_NAME_CHARS + 1)}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"url": "hooks.example.com"}, "url"),
        ({"url": "ftp://hooks.example.com/"}, "url"),
        ({"url": "https://me:pw@hooks.example.com/"}, "url"),
        ({"url": "http://127.0.0.1:9/"}, "url"),
        ({"url": "http://[::1]/"}, "url"),
        ({"event_types": []}, "event_types"),
        ({"event_types": ["batch.completed", "response.completed"]}, "event_types"),
        ({"event_types": "batch.completed"}, "event_types"),
        ({"event_types": [1]}, "event_types.0"),
        ({"name": 1}, "name"),
    ],
)
def test_what_cannot_be_an_endpoint_is_refused_on_create_and_on_update(
    tmp_path: Path, change: dict[str, Any], param: str
) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            status, at, _ = await refusal(house, "webhook_endpoints", **{**HOOK, **change})
            assert (status, at) == (400, param)
            most = {**HOOK, "name": "x" * MAX_NAME_CHARS}
            made = await post(house, "webhook_endpoints", **most)
            status, at, _ = await refusal(house, f"webhook_endpoints/{made['id']}", **change)
            assert (status, at) == (400, param)

    run(main())


def test_an_account_has_twenty_endpoints_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            made = [await post(house, "webhook_endpoints", **HOOK) for _ in range(MAX_ENDPOINTS)]
            told = await refusal(house, "webhook_endpoints", **HOOK)
            assert told == (429, None, "too_many_webhook_endpoints")
            await house.client.delete(f"/v1/webhook_endpoints/{made[0]['id']}")
            await post(house, "webhook_endpoints", **HOOK)

    run(main())


def test_unknown_things_are_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            one = "/v1/webhook_endpoints/we_unknown"
            body = {"event_type": "batch.completed"}
            answers = [
                await house.client.get(one),
                await house.client.get(f"/v1/webhook_endpoints/{'x' * 5000}"),
                await house.client.post(one, json={"name": "x"}),
                await house.client.delete(one),
                await house.client.post(f"{one}/rotate_secret", json={}),
                await house.client.post(f"{one}/test", json=body),
                await house.client.get("/v1/webhook_endpoints?after=we_unknown"),
                await house.client.get("/v1/webhook_deliveries?after=whd_unknown"),
                await house.client.post("/v1/webhook_deliveries/whd_unknown/replay"),
            ]
            assert [answer.status_code for answer in answers] == [404] * len(answers)
            assert {fault(answer)["param"] for answer in answers} == {None, "after"}

    run(main())


@pytest.mark.parametrize(("limit", "status"), [(0, 400), (1, 200), (100, 200), (101, 400)])
def test_pages_hold_one_to_a_hundred(tmp_path: Path, limit: int, status: int) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            for path in ("webhook_endpoints", "webhook_deliveries"):
                answer = await house.client.get(f"/v1/{path}?limit={limit}")
                assert answer.status_code == status

    run(main())
