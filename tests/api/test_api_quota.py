"""Quotas through the door: room is taken before bytes come, and given back however it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from api_house import LINE, House, as_object, fault, open_house, run
from starlette.types import Message

from batchmill.domain.errors import StorageFull
from batchmill.domain.limits import MB, Limits
from batchmill.door.bodies import Patience
from batchmill.ports import Quota, QuotaReached, Reservation

KIND = {"content-type": "multipart/form-data; boundary=edge"}
PURPOSE = b'--edge\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
OPENING = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--edge--\r\n"
ONE = Limits(max_files=1)


async def upload(house: House, content: bytes = LINE, purpose: str = "batch") -> httpx2.Response:
    files = {"file": ("in.jsonl", content)}
    return await house.client.post("/v1/files", data={"purpose": purpose}, files=files)


async def upload_unannounced(house: House, content: bytes) -> httpx2.Response:
    async def body() -> AsyncIterator[bytes]:
        yield PURPOSE + OPENING
        for start in range(0, len(content), MB):
            yield content[start : start + MB]
        yield END

    return await house.client.post("/v1/files", headers=KIND, content=body())


def lines(size: int) -> bytes:
    """A file of so many bytes."""
    return b"{}\n" + b" " * (size - 3)


class SlowClient:
    """An upload that is spoken by hand, word for word."""

    def __init__(self, house: House, *, length: int | None = None) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._asked = asyncio.Event()
        self.answered: list[Message] = []
        headers = [(b"host", b"localhost"), (b"content-type", KIND["content-type"].encode())]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        self.task = asyncio.create_task(house.app(_scope(headers), self._receive, self._send))

    async def _receive(self) -> Message:
        self._asked.set()
        return await self._messages.get()

    async def _send(self, message: Message) -> None:
        self.answered.append(message)

    async def begin(self) -> None:
        """Return when the server asks for the first bytes."""
        await self._asked.wait()

    async def say(self, data: bytes) -> None:
        """Send some bytes; return when the server asks for more, or has answered."""
        self._asked.clear()
        self._messages.put_nowait({"type": "http.request", "body": data, "more_body": True})
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait([asked, self.task], return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()

    async def end(self) -> int:
        self._messages.put_nowait({"type": "http.request", "body": END, "more_body": False})
        await self.task
        return self.status

    async def go_away(self) -> None:
        self._messages.put_nowait({"type": "http.disconnect"})
        await self.task

    @property
    def status(self) -> int:
        return int(self.answered[0]["status"])


def _scope(headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/files",
        "raw_path": b"/v1/files",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def assert_all_is_free(house: House) -> None:
    """The whole quota of one file can be had, in a reservation as in a file."""
    answer = await upload(house)
    assert answer.status_code == 200, answer.text
    assert (await upload(house)).status_code == 429
    await house.client.delete(f"/v1/files/{as_object(answer)['id']}")


def test_where_there_is_no_room_not_a_byte_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        limits = Limits(max_total_bytes=MB)
        async with open_house(tmp_path, limits=limits) as house:
            await house.upload()

            async def never() -> AsyncIterator[bytes]:
                yield pytest.fail("the body was read")

            length = {"content-length": str(2 * MB)}
            answer = await house.client.post("/v1/files", headers=KIND | length, content=never())
            assert answer.status_code == 429
            assert answer.headers["x-should-retry"] == "false"
            assert fault(answer)["message"].startswith("Upload file capacity exceed limit.")
            assert "retry-after" not in answer.headers

    run(main())


@pytest.mark.parametrize(("size", "status"), [(2 * MB, 200), (2 * MB + 1, 429)])
@pytest.mark.parametrize("way", [upload, upload_unannounced])
def test_the_last_byte_can_be_had_with_and_without_a_length(
    tmp_path: Path,
    way: Callable[[House, bytes], Awaitable[httpx2.Response]],
    size: int,
    status: int,
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_total_bytes=3 * MB)) as house:
            assert (await upload(house, lines(MB))).status_code == 200
            answer = await way(house, lines(size))
            assert answer.status_code == status
            assert len(house.stored_bytes()) == (2 if status == 200 else 1)

    run(main())


def test_an_upload_under_way_holds_its_room_and_keeps_what_it_needs_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_total_bytes=10 * MB)) as house:
            slow = SlowClient(house, length=9 * MB)
            await slow.begin()
            assert (await upload(house, lines(2 * MB))).status_code == 429
            assert (await upload(house, lines(MB))).status_code == 200
            await slow.say(PURPOSE + OPENING + lines(2 * MB))
            assert await slow.end() == 200
            assert (await upload(house, lines(7 * MB))).status_code == 200
            assert (await upload(house)).status_code == 429

    run(main())


def test_room_grows_with_what_comes_and_is_judged_as_it_grows(tmp_path: Path) -> None:
    """Nobody knew how large it would be: 64 MB at a time, then what is left to the byte."""

    async def main() -> None:
        async with open_house(tmp_path, limits=Limits(max_total_bytes=70 * MB)) as house:
            slow = SlowClient(house)
            await slow.begin()
            assert (await upload(house, lines(7 * MB))).status_code == 429
            assert (await upload(house, lines(3 * MB))).status_code == 200
            await slow.say(PURPOSE + OPENING + lines(MB))
            for _ in range(66):
                await slow.say(b" " * MB)
            assert not slow.task.done()
            await slow.say(b" " * MB)
            assert slow.status == 429
            assert len(house.stored_bytes()) == 1
            assert (await upload(house, lines(67 * MB))).status_code == 200

    run(main())


async def refused_content(house: House, _patch: pytest.MonkeyPatch) -> None:
    assert (await upload(house, b"oops")).status_code == 400


async def refused_purpose(house: House, _patch: pytest.MonkeyPatch) -> None:
    assert (await upload(house, purpose="vision")).status_code == 400


async def cut_off(house: House, _patch: pytest.MonkeyPatch) -> None:
    slow = SlowClient(house)
    await slow.say(PURPOSE + OPENING + LINE)
    assert (await upload(house)).status_code == 429
    await slow.go_away()


async def stalled(house: House, _patch: pytest.MonkeyPatch) -> None:
    slow = SlowClient(house)
    await slow.say(PURPOSE + OPENING + LINE)
    await slow.task
    assert slow.status == 408


async def aborted(house: House, _patch: pytest.MonkeyPatch) -> None:
    slow = SlowClient(house)
    await slow.say(PURPOSE + OPENING + LINE)
    slow.task.cancel()
    await asyncio.gather(slow.task, return_exceptions=True)


async def disk_full(house: House, patch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> None:
        raise StorageFull("Full.")

    with patch.context() as patched:
        patched.setattr(house.store.files, "add", full)
        assert (await upload(house)).status_code == 507


async def failed(house: House, patch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError

    with patch.context() as patched:
        patched.setattr(house.blobs, "create", broken)
        assert (await upload(house)).status_code == 500


async def deleted(house: House, _patch: pytest.MonkeyPatch) -> None:
    file = await house.upload()
    assert (await house.client.delete(f"/v1/files/{file['id']}")).status_code == 200


async def begin_upload(house: House) -> str:
    announced = {"filename": "a", "purpose": "batch", "bytes": len(LINE), "mime_type": ""}
    answer = await house.client.post("/v1/uploads", json=announced)
    assert answer.status_code == 200
    assert (await upload(house)).status_code == 429
    return str(as_object(answer)["id"])


async def cancelled_upload(house: House, _patch: pytest.MonkeyPatch) -> None:
    upload_id = await begin_upload(house)
    assert (await house.client.post(f"/v1/uploads/{upload_id}/cancel")).status_code == 200


async def expired_upload(house: House, _patch: pytest.MonkeyPatch) -> None:
    await begin_upload(house)
    house.clock.time += 3600


async def completed_and_deleted(house: House, _patch: pytest.MonkeyPatch) -> None:
    path = f"/v1/uploads/{await begin_upload(house)}"
    part = await house.client.post(f"{path}/parts", files={"data": ("a", LINE)})
    body = {"part_ids": [as_object(part)["id"]]}
    done = as_object(await house.client.post(f"{path}/complete", json=body))
    assert (await upload(house)).status_code == 429
    await house.client.delete(f"/v1/files/{done['file']['id']}")


async def killed_process(house: House, _patch: pytest.MonkeyPatch) -> None:
    """What a killed process had taken is still there, and falls back by itself."""
    now = house.clock.now()
    room = Reservation("file-batch-killed", "default", 1, now + 600)
    await house.store.files.reserve(room, Quota(1, 10**9), now)
    house.clock.time += 599
    assert (await upload(house)).status_code == 429
    house.clock.time += 1


ENDS = [
    *(refused_content, refused_purpose, cut_off, stalled, aborted, disk_full, failed, deleted),
    *(cancelled_upload, expired_upload, completed_and_deleted, killed_process),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_room_is_given_back_however_an_upload_ends(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[House, pytest.MonkeyPatch], Awaitable[None]],
) -> None:
    async def main() -> None:
        patience = Patience(idle_seconds=0.01 if end is stalled else 60.0)
        async with open_house(tmp_path, limits=ONE, patience=patience) as house:
            for _ in range(2):
                await end(house, monkeypatch)
                await assert_all_is_free(house)
            assert await house.store.files.drop_stale(house.clock.now() + 10**9) == 0

    run(main())


def test_a_long_upload_renews_its_room_and_one_that_overslept_is_judged_anew(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_house(tmp_path, limits=ONE) as house:
            slow = SlowClient(house)
            await slow.say(PURPOSE + OPENING + lines(MB))
            for _ in range(30):
                house.clock.time += 60.0
                await slow.say(b" " * MB)
                assert (await upload(house)).status_code == 429
            house.clock.time += 599.9
            assert (await upload(house)).status_code == 429
            house.clock.time += 0.1
            assert (await upload(house)).status_code == 200
            await slow.say(b" " * MB)
            assert slow.status == 429
            assert len(house.stored_bytes()) == 1

    run(main())


@pytest.mark.parametrize(
    ("limits", "fit"),
    [
        (Limits(max_files=9), 9),
        (Limits(max_total_bytes=9 * len(LINE)), 9),
        (Limits(max_total_bytes=10 * len(LINE) - 1), 9),
    ],
    ids=["files", "bytes", "one-byte-short"],
)
def test_64_clients_at_two_doors_never_get_more_than_the_quota(
    tmp_path: Path, limits: Limits, fit: int
) -> None:
    """Some announce their length, some do not, some begin in parts, some are refused."""

    async def main() -> None:
        async with (
            open_house(tmp_path, limits=limits) as first,
            open_house(tmp_path, limits=limits, shared=True) as second,
        ):
            doors = (first, second)
            announced = {"filename": "a", "purpose": "batch", "bytes": len(LINE), "mime_type": ""}

            async def call(number: int) -> httpx2.Response:
                house = doors[number % 2]
                match number // 2 % 4:
                    case 0:
                        return await upload(house)
                    case 1:
                        return await upload_unannounced(house, LINE)
                    case 2:
                        return await upload(house, b"oops" + LINE)
                    case _:
                        return await house.client.post("/v1/uploads", json=announced)

            answers = await asyncio.gather(*(call(number) for number in range(64)))
            held = [one for one in answers if one.status_code == 200]
            assert {one.status_code for one in answers} <= {200, 400, 429}
            assert len(held) <= fit
            # who was too early for room that came back may now have it, to the last file
            for door in [*doors] * fit:
                again = await upload(door)
                held += [again] if again.status_code == 200 else []
            assert len(held) == fit
            room = Reservation("x", "default", len(LINE), first.clock.now() + 1)
            quota = Quota(limits.max_files, limits.max_total_bytes)
            with pytest.raises(QuotaReached):
                await first.store.files.reserve(room, quota, first.clock.now())

    run(main())


def test_a_deletion_is_in_the_audit_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_house(tmp_path) as house:
            file = await house.upload()
            await house.client.delete(f"/v1/files/{file['id']}")
            (deed,) = (await house.store.audit.list("default", limit=9)).items
            assert (deed.action, deed.target) == ("file.deleted", file["id"])

    run(main())
