"""The list of batches: what a row says, filters in the address, paging, cancelling, roles."""

from pathlib import Path
from typing import Any

from api_house import run
from console_house import Visitor, open_console, text_of

from batchmill.domain.account import Role
from batchmill.domain.batch import Counts, Event, LineError
from batchmill.ports import Progress
from batchmill.service.caller import Caller

EVIL = "<script>window.evil=1</script><img src=x onerror=alert(1)>"


async def make(visitor: Visitor, **metadata: str) -> str:
    """A batch in ``validating``; its id."""
    file = await visitor.house.upload()
    fields: dict[str, Any] = {"input_file_id": file["id"], "metadata": metadata or None}
    return str((await visitor.house.create_batch(**fields))["id"])


async def plan(visitor: Visitor, batch_id: str, **more: Any) -> None:
    await visitor.house.move(batch_id, Event.PLANNED, model="qwen-plus", **more)


def test_a_row_says_how_a_batch_is_getting_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch_id = await make(visitor, ds_name="Nightly eval", ds_description="All of it")
            await plan(visitor, batch_id)
            visitor.house.progress[batch_id] = Progress(None, 2.5)
            page = await visitor.get("/batches")
            said = text_of(page)
            for word in ("Nightly eval", "All of it", batch_id, "qwen-plus", "in progress"):
                assert word in said, word
            assert "2.5 lines/s" in said
            assert "2025-10-09 08:53:20" in said

    run(main())


def test_a_batch_that_will_be_late_says_by_how_much(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch_id = await make(visitor)
            house = visitor.house
            before = await house.batch(batch_id)
            await plan(visitor, batch_id)
            house.progress[batch_id] = Progress(None, 1.0)
            assert "to spare" in text_of(await visitor.get("/batches"))
            house.clock.time = before.expires_at + 60.0
            assert "1 min late" in text_of(await visitor.get("/batches"))

    run(main())


def test_a_failed_batch_tells_why_to_who_points_at_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch_id = await make(visitor)
            errors = (LineError("invalid_json", f"Not JSON: {EVIL}", None, 7), LineError("x", "y"))
            await visitor.house.move(batch_id, Event.REJECTED, errors=errors)
            page = await visitor.get("/batches")
            assert f'aria-describedby="why-{batch_id}"' in page.text
            assert "line 7: Not JSON" in text_of(page)
            assert "(and 1 more)" in text_of(page)
            assert EVIL not in page.text

    run(main())


def test_hostile_names_are_shown_and_not_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            await make(visitor, ds_name=EVIL, ds_description='"><script>1</script>')
            page = await visitor.get("/batches")
            assert EVIL in text_of(page)
            assert "<script>window" not in page.text
            assert "<script>1" not in page.text
            assert "onerror=alert(1)>" not in page.text

    run(main())


def test_it_is_live_while_anything_runs_and_rests_when_nothing_does(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            assert "every 2s" not in (await visitor.get("/batches")).text
            batch_id = await make(visitor)
            assert "every 2s" in (await visitor.get("/batches?status=validating")).text
            part = await visitor.renew("/batches?status=validating")
            assert part.text.lstrip().startswith("<section")
            assert "<html" not in part.text
            await visitor.house.move(batch_id, Event.REJECTED)
            assert "every 2s" not in (await visitor.get("/batches")).text

    run(main())


def test_filters_stand_in_the_address_and_combine(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            first, second = (
                await make(visitor, ds_name="alpha"),
                await make(visitor, ds_name="beta"),
            )
            await plan(visitor, second)
            for query, shown in {
                "search=ALPH": {first},
                f"search={second[6:20]}": {second},
                "status=in_progress": {second},
                "model=qwen-plus": {second},
                "search=alpha&status=in_progress": set(),
                "workspace=ws_default": {first, second},
                "workspace=ws_other": set(),
                "since=2025-10-09": {first, second},
                "since=2025-10-10": set(),
                "until=2025-10-08": set(),
                "until=2025-10-09": {first, second},
                "status=nonsense&since=nonsense&until=99999-01-01": {first, second},
            }.items():
                said = (await visitor.get(f"/batches?{query}")).text
                assert {one for one in (first, second) if f"row-{one}" in said} == shown, query
            assert "No batch fits." in (await visitor.get("/batches?search=nobody")).text

    run(main())


def test_pages_of_fifty_lead_from_one_to_the_next_with_their_filters(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            file = await visitor.house.upload()
            made = [
                (await visitor.house.create_batch(input_file_id=file["id"]))["id"]
                for _ in range(51)
            ]
            page = await visitor.get("/batches?status=validating")
            assert page.text.count('<tr id="row-') == 50
            older = f"/batches?status=validating&amp;after={made[1]}"
            assert f'href="/console{older}" rel="next"' in page.text
            last = await visitor.get(older.replace("&amp;", "&"))
            assert f"row-{made[0]}" in last.text
            assert 'rel="next"' not in last.text
            assert "Newest" in last.text
            lost = await visitor.get("/batches?after=batch_none")
            assert lost.status_code == 404
            assert "No batch found" in text_of(lost)

    run(main())


def test_cancelling_leads_to_the_batch_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch_id = await make(visitor, ds_name="Mine")
            assert f"/batches/{batch_id}/cancel" in (await visitor.get("/batches")).text
            done = await visitor.act(f"/batches/{batch_id}/cancel")
            assert done.headers["hx-redirect"] == f"/console/batches/{batch_id}"
            assert (await visitor.house.batch(batch_id)).status == "cancelling"
            page = await visitor.get("/batches")
            assert "Mine is being cancelled." in text_of(page)
            assert f"/batches/{batch_id}/cancel" not in page.text
            assert "being cancelled" not in text_of(await visitor.get("/batches"))

    run(main())


def test_a_batch_that_has_ended_is_not_cancelled_and_this_is_told_in_place(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch_id = await make(visitor)
            await visitor.house.move(batch_id, Event.REJECTED)
            refused = await visitor.act(f"/batches/{batch_id}/cancel")
            assert refused.status_code == 409
            assert refused.headers["hx-retarget"] == "#messages"
            assert "Cannot cancel a batch with status 'failed'." in text_of(refused)

    run(main())


def test_cancelling_counts_with_the_requests_of_clients(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for _ in range(30):
                assert (await visitor.act("/batches/batch_x/cancel")).status_code == 404
            refused = await visitor.act("/batches/batch_x/cancel")
            assert refused.status_code == 429
            assert refused.headers["retry-after"] == "60"
            assert "batches are cancelled at most 30 times" in text_of(refused)

    run(main())


def test_who_may_only_read_sees_no_action_and_cannot_cancel(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await visitor.sign_in(await visitor.make_key(Role.MEMBER))
            member = await visitor.get("/batches")
            assert "Create batch" in member.text
            assert "/settings/keys" not in member.text
            await visitor.sign_in(await visitor.make_key(Role.READ_ONLY))
            reader = await visitor.get("/batches")
            assert "Create batch" not in reader.text
            refused = await visitor.act("/batches/batch_x/cancel")
            assert refused.status_code == 403

    run(main())


def test_another_accounts_batches_are_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            await make(visitor, ds_name="Ours")
            await visitor.sign_in(await visitor.make_key())
            assert "Ours" in text_of(await visitor.get("/batches"))
            other = await visitor.house.services.admin.accounts.create(Caller(), "Other")
            await visitor.sign_in(await visitor.make_key(account=other.id))
            assert "There are no batches yet." in text_of(await visitor.get("/batches"))

    run(main())


def test_progress_is_drawn_by_attributes_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch_id = await make(visitor)
            await plan(visitor, batch_id)
            await visitor.house.move(batch_id, Event.BROKE, counts=Counts(4, 2, 1))
            page = await visitor.get("/batches")
            assert 'class="done" width="50.0"' in page.text
            assert 'class="failed" x="50.0" width="25.0"' in page.text
            assert "3 / 4" in text_of(page)
            assert "1 failed" in text_of(page)

    run(main())
