"""What stands in a house before it is fuzzed: something of every kind, in every state.

``Stock.known`` are the values of parameters, by their names, that hit
something; a fuzzer that only guesses ids never gets behind a 404.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any, Final

from api_house import CHAT, LINE, House, as_object
from api_keys import WHO, bearer, new_account, new_key, new_workspace
from schemathesis import Case
from usage_rows import Row, write_rows

from batchmill.domain.account import OPERATOR, Role
from batchmill.domain.batch import Counts, Event, LineError, advance
from batchmill.domain.file import File, Purpose
from batchmill.domain.ids import line_id
from batchmill.domain.results import judge, output_line
from batchmill.domain.shards import Shard
from batchmill.domain.usage import ZERO
from batchmill.domain.webhook import (
    SECRET_ENTROPY,
    Delivery,
    WebhookEndpoint,
    make_webhook_secret,
)
from batchmill.ports import Record
from batchmill.service.deeds import deed_of

UPLOAD: Final = {
    "filename": "a.jsonl",
    "purpose": "batch",
    "bytes": len(LINE),
    "mime_type": "application/jsonl",
}
# What parameters may be called, by the kind of thing that they name.
NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "file": ("file_id", "input_file_id", "input_file_ids", "after"),
    "batch": ("batch_id", "batch", "after"),
    "upload": ("upload_id",),
    "part": ("part_ids",),
    "workspace": ("workspace", "scope_id", "id"),
    "key": ("key_id", "key", "scope_id", "id"),
    "account": ("account", "scope_id", "id"),
    "hook": ("webhook_endpoint_id", "after"),
    "delivery": ("delivery_id", "after"),
    "deed": ("after",),
    "cursor": ("after",),
}
PLAIN: Final[Mapping[str, tuple[Any, ...]]] = {
    "model_id": ("qwen-plus", "Qwen/Qwen3-8B"),
    "model": ("qwen-plus", "Qwen/Qwen3-8B"),
    "models": ("qwen-plus",),
    "account": ("all",),
    "currency": ("USD",),
    "endpoint": (CHAT,),
    "completion_window": ("24h", "14d"),
    "purpose": ("batch",),
    "scope": ("workspace", "key", "account"),
    "budget": ("20.00", "0"),
    "bytes": (len(LINE),),
    "event_types": ("batch.completed",),
    "event_type": ("batch.completed",),
    "url": ("https://bell.example/",),
    "name": ("Bell",),
    "start_time": ("2025-09-01", "1759000000"),
    "end_time": ("2025-11", "1762000000"),
    "status": ("in_progress", "succeeded"),
    "create_after": ("20250306123000",),
    "file": (LINE.decode(),),
    "data": (LINE.decode(),),
    "group_by": ("model", "workspace", "none"),
}

AnyCase = Case[Any]
Choose = Callable[[Sequence[Any]], Any]


@dataclass
class Stock:
    """The things of one account, and the keys to them."""

    house: House
    account: str = OPERATOR
    secret: str = ""
    known: dict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    def learn(self, kind: str, id_: str) -> str:
        """Let the parameters that name such a thing hit it."""
        for name in NAMES[kind]:
            self.known[name].append(id_)
        return id_

    async def post(self, path: str, **more: Any) -> dict[str, Any]:
        headers = bearer(self.secret) if self.secret else {}
        answer = await self.house.client.post(path, headers=headers, **more)
        assert answer.status_code == 200, answer.text
        return as_object(answer)

    async def fill(self) -> None:
        """Something of every kind."""
        self.learn("account", self.account)
        for name, values in PLAIN.items():
            self.known[name].extend(values)
        await self._keys()
        await self._files()
        await self._batches()
        await self._uploads()
        await self._webhooks()
        await self._money()
        for deed in (await self.house.store.audit.list(self.account, limit=3, after=None)).items:
            self.learn("deed", deed.id)

    async def _keys(self) -> None:
        room = self.learn("workspace", await new_workspace(self.house, self.account))
        for _ in range(3):
            made = await new_key(self.house, Role.READ_ONLY, account=self.account, workspace=room)
            self.learn("key", made.key.id)

    async def _file(self) -> str:
        form = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", LINE)}}
        return str((await self.post("/v1/files", **form))["id"])

    async def _files(self) -> None:
        for _ in range(4):
            self.learn("file", await self._file())

    async def _batch(self) -> str:
        body = {"input_file_id": await self._file(), "endpoint": CHAT, "completion_window": "24h"}
        made = await self.post("/v1/batches", json={**body, "metadata": {"ds_name": "n"}})
        return self.learn("batch", made["id"])

    async def _batches(self) -> None:
        for _ in range(3):
            await self._batch()
        if self.account != OPERATOR:
            return
        await self._fail(await self._batch())
        await self._run(await self._batch())
        ended = await self._batch()
        await self._run(ended)
        await self._deliver(ended)
        path = f"/v1/batches/{ended}/results?limit=1"
        headers = bearer(self.secret) if self.secret else {}
        answer = await self.house.client.get(path, headers=headers)
        self.learn("cursor", answer.headers["x-next-after"])

    async def _fail(self, batch_id: str) -> None:
        errors = (LineError("invalid_json_line", "Not JSON.", None, 3),)
        await self.house.move(batch_id, Event.REJECTED, errors=errors)

    async def _run(self, batch_id: str) -> None:
        before = await self.house.batch(batch_id)
        moved = advance(before, Event.PLANNED, self.house.clock.now())
        shards = [Shard(batch_id, 0, 0, 100, 1, 2, ("qwen-plus",))]
        after = replace(moved, counts=Counts(total=2), model="qwen-plus")
        assert await self.house.store.batches.plan(before, after, shards)
        await self.house.store.shards.claim(shards)
        line = output_line(line_id(batch_id, 1), b'"1"', judge(200, b'{"n":1}'))
        self.house.journal.put(batch_id, 0, Record(1, True, ZERO, line))

    async def _deliver(self, batch_id: str) -> None:
        house = self.house
        writer = await house.blobs.create(f"results/{batch_id}/o")
        await writer.write(b'{"n":1}\n')
        blob = await writer.commit()
        file = File(
            id=self.learn("file", f"file-batch_output-{token_hex(12)}"),
            account=self.account,
            purpose=Purpose.BATCH_OUTPUT,
            filename='o\u2028"\r\n\u4e2d.jsonl',
            bytes=blob.bytes,
            digest=blob.digest,
            blob=blob.key,
            created_at=house.clock.now(),
        )
        before = await house.move(batch_id, Event.CANCEL_REQUESTED)
        after = advance(before, Event.DELIVERED, house.clock.now())
        ended = replace(after, counts=Counts(2, 1, 1), output_file_id=file.id)
        assert await house.store.batches.deliver(before, ended, [file])

    async def _uploads(self) -> None:
        for _ in range(3):
            made = self.learn("upload", (await self.post("/v1/uploads", json=UPLOAD))["id"])
            part = await self.post(f"/v1/uploads/{made}/parts", files={"data": ("part", LINE)})
            self.learn("part", part["id"])
        await self.post(f"/v1/uploads/{made}/cancel")

    async def _webhooks(self) -> None:
        """Endpoints and deliveries that nothing is ever sent for: the address is a private one."""
        webhooks, now = self.house.store.webhooks, self.house.clock.now()
        for n in range(3):
            endpoint = WebhookEndpoint(
                id=self.learn("hook", f"whe_{token_hex(12)}"),
                account=self.account,
                name="Bell",
                url="http://127.0.0.1:9/",
                event_types=("batch.completed",),
                secret=make_webhook_secret(bytes(SECRET_ENTROPY)),
                created_at=now,
                updated_at=now,
            )
            deed = deed_of(WHO, "webhook.created", endpoint.id, now)
            await webhooks.add(endpoint, deed, most=100)
            delivery = Delivery(
                id=self.learn("delivery", f"whd_{token_hex(16)}"),
                account=self.account,
                event_id="evt_1",
                event_type="batch.completed",
                subject="batch_1",
                url=endpoint.url,
                payload=json.dumps({}),
                created_at=now,
                next_at=now + 60,
                endpoint_id=endpoint.id if n else None,
            )
            await webhooks.enqueue(delivery)

    async def _money(self) -> None:
        room, key = self.known["workspace"][0], self.known["key"][0]
        mark, now = self.account[-4:], self.house.clock.now()
        common = {"account": self.account, "workspace": room, "key": key}
        rows = [
            Row(batch=f"batch_{mark}_{n}", at=now - n * 86_400.5, running=n == 1, **common)
            for n in range(1, 6)
        ]
        await write_rows(self.house.store, rows)
        for row in rows:
            self.learn("batch", row.batch)
        caps: list[dict[str, Any]] = [
            {"scope": "workspace", "id": room, "limit": "999999999.000000000000001"},
            {"scope": "key", "id": key, "limit": "0", "alert_percent": 80},
        ]
        for cap in caps:
            await self.post("/v1/admin/caps", json={**cap, "currency": "USD"})


async def stocked(house: House, name: str | None = None) -> Stock:
    """The stock of a new account of that name, or the operator's."""
    account = OPERATOR if name is None else await new_account(house, name)
    made = await new_key(house, Role.ADMIN, account=account)
    stock = Stock(house, account, made.secret)
    await stock.fill()
    return stock


KEEP: Final = object()
# A body is good only if all of its fields are, so what hits has most of the tickets.
MOSTLY: Final = 5
LISTS: Final = {
    "query": frozenset({"model", "workspace", "key", "batch", "status", "group_by"}),
    "body": frozenset({"models", "event_types", "part_ids"}),
    "path_parameters": frozenset[str](),
}


def put_known(case: AnyCase, known: Mapping[str, Sequence[Any]], choose: Choose) -> None:
    """Put values that hit something in the place of some that were made up.

    ``choose`` picks one of a sequence; ``KEEP`` leaves what is there. What is wrong on
    purpose stays wrong: then only the path is made to lead somewhere.
    """
    is_wrong = case.meta is not None and case.meta.generation.mode.is_negative
    for place in ("path_parameters",) if is_wrong else LISTS:
        given = getattr(case, place)
        if isinstance(given, dict):
            names = sorted(given.keys() & known.keys())
            chosen = {name: choose([KEEP, *(list(known[name]) * MOSTLY)]) for name in names}
            changed = {
                name: [value] if name in LISTS[place] else value
                for name, value in chosen.items()
                if value is not KEEP
            }
            if changed:
                setattr(case, place, given | changed)  # so that the case notices
