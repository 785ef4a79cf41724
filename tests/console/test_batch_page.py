"""The page of one batch: how it stands, what it cost, what can be done with it, and by whom."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from api_house import CHAT, NOON, run
from batch_stage import (
    EVIL,
    Stage,
    begin,
    charge,
    chat_answer,
    chat_request,
    make_batch,
    request_line,
    usage,
)
from console_house import Visitor, open_console, text_of

from batchmill.domain.account import Role
from batchmill.domain.batch import Event, Halt, LineError
from batchmill.domain.convert import COLUMNS
from batchmill.domain.ledger import Entry
from batchmill.domain.money import UNITS
from batchmill.domain.pacing import Bound
from batchmill.domain.pricing import Item
from batchmill.domain.usage import Usage
from batchmill.ports import Progress, ShardTally
from batchmill.service.batches import BatchSpec
from batchmill.service.caller import Caller
from batchmill.service.keys import KeySpec
from batchmill.service.model_board import UpstreamFigures

THREE = request_line("a") + request_line("b") + request_line("c")


async def two_of_three(visitor: Visitor, **fields: Any) -> Stage:
    """A batch whose first line succeeded and whose second failed."""
    stage = await begin(visitor, THREE, **fields)
    stage.settle(1)
    stage.settle(2, code="upstream_error", message=f"no answer {EVIL}")
    return stage


def test_a_running_batch_tells_how_it_gets_on_and_is_live(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor, metadata={"ds_name": "Nightly", "team": "search"})
            await stage.close_shard(0, at=NOON + 2, millis=3_000, rejections=4, retries=5)
            house = visitor.house
            house.progress[stage.id] = Progress(None, 0.5)
            house.clock.time = NOON + 60
            page = await visitor.get(stage.path)
            said = text_of(page)
            for text in (
                "2 of 3 lines (66.7 %), 1 of them failed",
                "Lines a second 0.5",
                "Time left 2.0 s",
                "In progress 2025-10-09 08:53:20 at once for 1 min",
                "End 2025-10-09 08:54:22 expected",
                "23 h 58 min to spare",
                "Average latency 1.5 s",
                "Retries 5 4 after a 429",
                "Sent again 2",
                "team search",
                "Made when the batch ends.",
            ):
                assert text in said, text
            assert 'hx-trigger="every 2s"' in page.text
            part = await visitor.renew(stage.path)
            assert part.text.lstrip().startswith("<section")
            assert "<html" not in part.text

    run(main())


def test_a_batch_that_has_not_begun_owes_its_figures(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch = await make_batch(visitor)
            visitor.house.progress[batch["id"]] = Progress(
                queue_position=3, lines_per_second=None, waits_for="It waits for a slot."
            )
            page = await visitor.get(f"/batches/{batch['id']}")
            said = text_of(page)
            assert "Place in the queue 3" in said
            assert "It waits for a slot." in said
            for text in ("Lines a second —", "Time left —", "Average latency —", "Retries —"):
                assert text in said, text
            assert "Cost —" in said
            assert "chart" not in page.text.split("<main")[1]

    run(main())


@pytest.mark.parametrize(
    ("bound", "said"),
    [(Bound.WINDOW, "In flight 7 / 64 "), (Bound.TRIAL, "In flight 7 / 64 trying more")],
)
def test_a_running_batch_shows_what_is_in_flight_and_why_no_more_is(
    tmp_path: Path, bound: Bound, said: str
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch = await make_batch(visitor)
            await visitor.house.move(batch["id"], Event.PLANNED, model="qwen-plus")
            visitor.house.progress[batch["id"]] = Progress(None, 2.0)
            figures = UpstreamFigures(True, 7, 64, 0, bound)
            visitor.house.figures["qwen-plus", "http://a/v1"] = figures
            page = await visitor.get(f"/batches/{batch['id']}")
            assert said in text_of(page)
            told = await visitor.house.client.get(f"/v1/batches/{batch['id']}")
            assert told.json()["batchmill"]["progress"]["concurrency"] == {
                "in_flight": 7,
                "limit": 64,
                "bound": bound.value,
            }

    run(main())


def test_a_batch_that_has_ended_rests_and_offers_its_files(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor)
            stage.settle(3)
            batch = await stage.end()
            page = await visitor.get(stage.path)
            assert "every 2s" not in page.text
            for file_id in (batch.input_file_id, batch.output_file_id, batch.error_file_id):
                assert f'href="/console/files/{file_id}/content"' in page.text
            assert f'href="/console{stage.path}/output.csv"' in page.text
            assert f'href="/console{stage.path}/errors.csv"' in page.text
            assert "Cancel batch" not in page.text
            assert "3 of 3 lines (100.0 %)" in text_of(page)

    run(main())


def test_errors_are_grouped_and_lead_to_an_example(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor)
            stage.settle(3, {"error": {"message": "too long", "code": "length"}}, status=400)
            await stage.close_shard(0, at=NOON + 2)
            page = await visitor.get(stage.path)
            said = text_of(page)
            assert f"upstream_error — 1 Line 2, b no answer {EVIL}" in said
            assert "length 400 1 Line 3, c too long" in said
            assert f'href="/console{stage.path}/lines/3"' in page.text
            assert EVIL not in page.text

    run(main())


def test_cost_is_told_by_kind_and_to_the_last_digit(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor, batchmill={"budget": "0.5"})
            await stage.close_shard(
                0,
                at=NOON,
                usage=usage(10, 20, cached=4, reasoning=5),
                charges=(charge(10, UNITS // 1_000), charge(20, UNITS // 10 + 1, Item.OUTPUT)),
            )
            said = text_of(await visitor.get(stage.path))
            assert "Input tokens 10, 4 of them cached" in said
            assert "Output tokens 20, 5 of them reasoning" in said
            assert "Input 10 0.002 0.001" in said
            assert "Output 20 0.200000000000002 0.100000000000001" in said
            assert "So far 30 0.202000000000002 0.101000000000001" in said
            assert "0.101000000000001 of 0.5 USD (20.2 %)" in said

    run(main())


def test_what_each_region_served_is_told_where_regions_have_names(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor)
            [shard] = stage.shards
            payer = (await stage.batch()).payer
            entries = [
                Entry(
                    stage.id,
                    *(0, "qwen-plus", payer, "1", None, calls, failures),
                    usage=Usage(1_000 * calls, 10),
                    region=region,
                )
                for region, calls, failures in (("us", 2, 0), ("eu", 1, 1))
            ]
            tally = ShardTally(stage.id, 0, shard.attempt, 2, 1, Usage(3_000, 20), 0)
            await visitor.house.store.shards.tally([replace(tally, at=NOON, entries=(entries[0],))])
            visitor.house.clock.time = NOON + 60
            said = text_of(await visitor.get(stage.path))
            assert "Region Lines Failed Input tokens Output tokens us 2 0 2,000 10" in said
            closing = replace(tally, at=NOON + 1, entries=tuple(entries))
            assert await visitor.house.store.shards.close(closing)
            assert "eu 1 1 1,000 10 us 2 0 2,000 10" in text_of(await visitor.get(stage.path))

    run(main())


def test_without_regions_there_is_no_table_of_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor)
            await stage.close_shard(0, at=NOON + 2)
            assert "Region" not in text_of(await visitor.get(stage.path))

    run(main())


def test_a_model_without_a_price_costs_nothing_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch = await make_batch(visitor)
            await visitor.house.move(batch["id"], Event.PLANNED, model="own", currency=None)
            said = text_of(await visitor.get(f"/batches/{batch['id']}"))
            assert "Nothing is charged: the model has no price." in said
            assert "Cost —" in said

    run(main())


def test_faults_are_listed_each_with_its_line(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            batch = await make_batch(visitor)
            errors = tuple(LineError("bad", f"No. {n} {EVIL}", "url", n) for n in range(1, 1_000))
            errors = (*errors, LineError("too_many_errors", "And 7 more.", None, None))
            await visitor.house.move(batch["id"], Event.REJECTED, errors=errors)
            page = await visitor.get(f"/batches/{batch['id']}")
            said = text_of(page)
            assert page.text.count('data-label="What is wrong"') == 1_000
            assert f"999 bad No. 999 {EVIL} url" in said
            assert "file too_many_errors And 7 more. —" in said
            assert EVIL not in page.text
            assert "Nothing was charged." in said

    run(main())


@pytest.mark.parametrize(
    ("event", "halt", "told"),
    [
        (Event.HALTED, Halt.BUDGET, "Its budget was used up"),
        (Event.HALTED, Halt.ACCOUNT, "The account's monthly limit was reached"),
        (Event.HALTED, Halt.WORKSPACE, "The workspace's monthly limit was reached"),
        (Event.HALTED, Halt.KEY, "The key's monthly limit was reached"),
        (Event.DEADLINE_PASSED, None, "Its deadline passed"),
        (Event.CANCEL_REQUESTED, None, "It was cancelled"),
        (Event.SETTLED, None, None),
    ],
)
def test_what_ended_it_early_is_told(
    tmp_path: Path, event: Event, halt: Halt | None, told: str | None
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await begin(visitor, THREE)
            await visitor.house.move(stage.id, event, halt=halt)
            page = await visitor.get(stage.path)
            assert ('id="ending"' in page.text) == (told is not None)
            assert (told or "") in text_of(page)

    run(main())


def test_hostile_names_and_metadata_are_shown_and_not_run(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            names = {"ds_name": EVIL, "ds_description": f'">{EVIL}', EVIL: f"\u202e{EVIL}"}
            batch = await make_batch(visitor, metadata=names)
            for path in ("", "/lines"):
                page = await visitor.get(f"/batches/{batch['id']}{path}")
                assert page.status_code == 200
                assert EVIL in text_of(page)
                assert "<script>window" not in page.text
                assert "<img src=x" not in page.text

    run(main())


def test_endless_metadata_is_cut(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            metadata = {f"key{n}": "v" for n in range(60)} | {"long": "w" * 500_000}
            batch = await make_batch(visitor, metadata=metadata)
            page = await visitor.get(f"/batches/{batch['id']}")
            assert "And 11 more." in text_of(page)
            assert len(page.text) < 100_000

    run(main())


def test_a_table_has_a_row_for_each_result(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await begin(visitor, THREE)
            stage.settle(1, chat_answer('He said "no",\nand left.'))
            stage.settle(2, chat_answer("x" * 1_100_000))  # more than a portion
            stage.settle(3, {"error": {"message": "too long", "code": "length"}}, status=400)
            await stage.end()
            got = await visitor.get(f"{stage.path}/output.csv")
            assert got.status_code == 200
            assert got.headers["content-type"] == "text/csv; charset=utf-8"
            name = f'attachment; filename="{stage.id}-output.csv"'
            assert got.headers["content-disposition"] == name
            rows = list(csv.reader(io.StringIO(got.content.decode("utf-8-sig"), newline="")))
            assert rows[0] == list(COLUMNS)
            assert [row[0] for row in rows[1:]] == ["a", "b"]
            assert rows[1][7] == 'He said "no",\nand left.'
            failed = (await visitor.get(f"{stage.path}/errors.csv")).text.splitlines()
            assert len(failed) == 2
            assert failed[1].startswith("c,")

    run(main())


def test_there_is_no_table_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await begin(visitor, THREE)
            assert (await visitor.get(f"{stage.path}/output.csv")).status_code == 404
            stage.settle(1)
            batch = await stage.end()
            assert (await visitor.get(f"{stage.path}/errors.csv")).status_code == 404
            assert (await visitor.get(f"{stage.path}/output.csv")).status_code == 200
            await visitor.house.services.files.delete(Caller(), batch.output_file_id or "")
            assert (await visitor.get(f"{stage.path}/output.csv")).status_code == 404
            assert "It was deleted, or its life is over." in text_of(await visitor.get(stage.path))

    run(main())


def test_failed_lines_become_a_file_and_a_batch_to_be(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await two_of_three(visitor, metadata={"ds_name": "Nightly"})
            refused = await visitor.act(f"{stage.path}/rerun-failed")
            assert refused.status_code == 409
            assert "rerun-failed" not in (await visitor.get(stage.path)).text
            stage.settle(3)
            await stage.end()
            assert "rerun-failed" in (await visitor.get(stage.path)).text
            done = await visitor.act(f"{stage.path}/rerun-failed")
            address = urlsplit(done.headers["hx-redirect"])
            asked = parse_qs(address.query)
            assert address.path == "/console/batches/new"
            assert asked["name"] == ["Nightly"]
            assert asked["description"] == [f"Failed lines of {stage.id}"]
            assert asked["window"] == ["24h"]
            files = visitor.house.services.files
            file = await files.retrieve(Caller(), asked["file"][0])
            content = [c async for c in await files.read(Caller(), file, start=0, end=file.bytes)]
            assert b"".join(content) == request_line("b")

    run(main())


def test_what_has_no_failed_lines_cannot_be_run_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await begin(visitor, request_line("a"))
            stage.settle(1)
            await stage.end()
            assert "rerun-failed" not in (await visitor.get(stage.path)).text
            assert (await visitor.act(f"{stage.path}/rerun-failed")).status_code == 409

    run(main())


def test_it_can_be_started_again_as_long_as_its_input_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            stage = await begin(
                visitor,
                chat_request("a"),
                metadata={"ds_name": "A & B", "ds_description": "All", "team": "x", "n": "1=2"},
                completion_window="48h",
                batchmill={"budget": "2.50"},
            )
            assert "start-again" not in (await visitor.get(stage.path)).text
            batch = await stage.end()
            page = await visitor.get(stage.path)
            address = page.text.split('id="start-again" href="')[1].split('"')[0]
            asked = parse_qs(urlsplit(address.replace("&amp;", "&")).query)
            assert asked == {
                "file": [batch.input_file_id],
                "name": ["A & B"],
                "description": ["All"],
                "window": ["48h"],
                "budget": ["2.5"],
                "metadata": ["team=x\nn=1=2"],
            }
            await visitor.house.services.files.delete(Caller(), batch.input_file_id)
            assert "start-again" not in (await visitor.get(stage.path)).text

    run(main())


def test_who_may_only_read_sees_no_action_and_has_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            secrets = {role: await visitor.make_key(role) for role in Role}
            house = visitor.house
            house.client.headers["authorization"] = f"Bearer {secrets[Role.ADMIN]}"
            stage = await two_of_three(visitor)
            running = (await visitor.house.batch(stage.id)).id
            ended = await two_of_three(visitor)
            await ended.end()
            for role, may in ((Role.ADMIN, True), (Role.MEMBER, True), (Role.READ_ONLY, False)):
                await visitor.sign_in(secrets[role])
                live = await visitor.get(f"/batches/{running}")
                over = await visitor.get(ended.path)
                assert (live.status_code, over.status_code) == (200, 200)
                assert ("Cancel batch" in text_of(live)) == may, role
                assert ('id="start-again"' in over.text) == may, role
                assert ('id="rerun-failed"' in over.text) == may, role
                assert (await visitor.get(f"{ended.path}/errors.csv")).status_code == 200
                done = await visitor.act(f"{ended.path}/rerun-failed")
                assert (done.status_code == 204) == may, role
                assert may or done.status_code == 403

    run(main())


def test_the_name_of_a_key_is_for_admins(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path, needs_keys=True) as visitor:
            made = await visitor.house.services.admin.keys.create(
                Caller(), KeySpec(f"Nightly {EVIL}", Role.ADMIN)
            )
            batch = await _as_key(visitor, made.key.id)
            await visitor.sign_in(made.secret)
            assert f"Key Nightly {EVIL}" in text_of(await visitor.get(f"/batches/{batch}"))
            await visitor.sign_in(await visitor.make_key(Role.MEMBER))
            said = text_of(await visitor.get(f"/batches/{batch}"))
            assert "Nightly" not in said
            assert made.key.id in said

    run(main())


async def _as_key(visitor: Visitor, key_id: str) -> str:
    from_key = Caller(key_id=key_id)
    spec = BatchSpec("file-batch-000000000000000000000000", CHAT, "24h")
    return (await visitor.house.services.batches.create(from_key, spec)).batch.id


def test_a_batch_that_is_not_theirs_is_not_found(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            for batch_id in ("batch_none", "%00", "x" * 3_000, "%F0%9F%98%80"):
                for path in ("", "/lines", "/lines/1", "/output.csv", "/errors.csv"):
                    page = await visitor.get(f"/batches/{batch_id}{path}")
                    assert page.status_code == 404, (batch_id, path)
            assert (await visitor.act("/batches/batch_none/rerun-failed")).status_code == 404

    run(main())
