"""From an uploaded file to two result files, through every part of the engine."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import T0
from engine_house import House, a_line, open_house, some_lines

from batchmill.config import ModelSettings, UpstreamSettings
from batchmill.domain.batch import Counts, Status
from batchmill.domain.ids import line_id
from batchmill.domain.limits import Profile
from batchmill.upstream.mock import MockUpstream
from batchmill.upstream.mock import Script as Upstream
from batchmill.upstream.mock.script import Fault

Test = Callable[[House, MockUpstream], Coroutine[Any, Any, None]]


def run(tmp_path: Path, test: Test, script: Upstream | None = None, **options: Any) -> None:
    """Run ``test`` with a started engine before a scripted upstream."""

    async def main() -> None:
        mock = MockUpstream(script)
        url = await mock.start()
        try:
            async with open_house(tmp_path, url, **options) as house:
                await test(house, mock)
        finally:
            await mock.stop()

    asyncio.run(main())


def test_a_batch_goes_through_and_every_line_is_sent_once(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        batch = await house.submit(some_lines(37))
        done = await house.until(batch)
        assert (done.status, done.counts) == (Status.COMPLETED, Counts(37, 37, 0))
        assert (done.model, done.error_file_id, done.errors) == ("m", None, ())
        assert done.in_progress_at == done.finalizing_at == done.completed_at == T0
        output, _ = await house.results(done)
        assert [line["custom_id"] for line in output] == [f"c{n}" for n in range(1, 38)]
        assert [line["id"] for line in output] == [line_id(batch.id, n) for n in range(1, 38)]
        assert mock.hits == {line_id(batch.id, n): 1 for n in range(1, 38)}
        await house.stop()
        assert await house.parts.journal.held() == []

    run(tmp_path, test)


def test_blank_lines_and_windows_newlines_and_a_missing_last_newline_change_nothing(
    tmp_path: Path,
) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        one, two, three = (json.dumps(a_line(n)).encode() for n in (1, 2, 3))
        batch = await house.submit(
            [b"\xef\xbb\xbf" + one + b"\r", b"", b"  ", two + b"\r\n" + three]
        )
        done = await house.until(batch)
        output, _ = await house.results(done)
        assert [line["custom_id"] for line in output] == ["c1", "c2", "c3"]
        assert [line["id"] for line in output] == [line_id(batch.id, n) for n in (1, 4, 5)]

    run(tmp_path, test, shard_lines=1)


@pytest.mark.parametrize("shard_lines", [1, 3, 1000])
def test_how_the_file_is_cut_into_shards_makes_no_difference(
    tmp_path: Path, shard_lines: int
) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        done = await house.until(await house.submit(some_lines(10)))
        output, _ = await house.results(done)
        assert [line["custom_id"] for line in output] == [f"c{n}" for n in range(1, 11)]

    run(tmp_path, test, shard_lines=shard_lines)


def test_custom_ids_come_back_byte_for_byte(tmp_path: Path) -> None:
    written = [r'"\u0061\"\\/"', '"\u00e9\U0001f600"', r'"\ud83d"', '"}],{"']

    async def test(house: House, mock: MockUpstream) -> None:
        rest = json.dumps({k: v for k, v in a_line(1).items() if k != "custom_id"})[1:]
        lines = [f'{{"custom_id":{name},{rest}'.encode() for name in written]
        done = await house.until(await house.submit(lines))
        assert done.status is Status.COMPLETED
        data = (await house.read(done, done.output_file_id)).splitlines()
        for line, name in zip(data, written, strict=True):
            assert b'"custom_id":' + name.encode() + b"," in line

    run(tmp_path, test)


def test_all_lines_failed_is_still_completed(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        done = await house.until(await house.submit(some_lines(5)))
        assert (done.status, done.counts) == (Status.COMPLETED, Counts(5, 0, 5))
        assert done.output_file_id is None
        _, errors = await house.results(done)
        assert {line["response"]["status_code"] for line in errors} == {401}
        assert {line["error"] for line in errors} == {None}

    run(tmp_path, test, Upstream(require_key="another"))


def test_some_lines_fail_and_each_lands_in_its_file_in_order(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        async with house.hurry():
            done = await house.until(await house.submit(some_lines(60)))
        assert done.status is Status.COMPLETED
        output, errors = await house.results(done)
        assert output
        assert errors
        assert {line["error"]["code"] for line in errors} == {"upstream_error"}
        assert {line["response"] for line in errors} == {None}
        assert all(mock.hits[line["id"]] <= 2 for line in output)
        assert {mock.hits[line["id"]] for line in errors} == {2}

    run(tmp_path, test, Upstream(rate_error_body=0.5, seed=3), max_attempts=2)


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET, Fault.CUT, Fault.RATE_LIMITED])
def test_lines_that_fail_at_first_succeed_in_the_end(tmp_path: Path, fault: Fault) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        async with house.hurry():
            done = await house.until(await house.submit(some_lines(20)))
        assert done.counts == Counts(20, 20, 0)
        await house.results(done)
        assert done.resent == 0

    run(tmp_path, test, Upstream(fail_first=2, fail_with=fault, status_5xx=500))


def test_a_file_with_faults_fails_with_all_of_them_and_nothing_is_sent(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        lines: list[Any] = [
            a_line(1),
            b"{not json",
            a_line(1),
            {**a_line(4), "url": "/v1/embeddings"},
        ]
        failed = await house.until(await house.submit(lines))
        assert failed.status is Status.FAILED
        assert [(error.code, error.line) for error in failed.errors] == [
            ("invalid_json_line", 2),
            ("duplicate_custom_id", 3),
            ("invalid_url", 4),
        ]
        assert (failed.failed_at, failed.in_progress_at) == (T0, None)
        assert (failed.output_file_id, failed.error_file_id) == (None, None)
        assert failed.counts == Counts()
        assert mock.stats.requests == 0

    run(tmp_path, test)


@pytest.mark.parametrize("kind", ["missing", "expired"])
def test_a_file_that_is_not_there_fails_the_batch(tmp_path: Path, kind: str) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        file_id = "file-batch-nowhere"
        if kind == "expired":
            file_id = (await house.upload(some_lines(1), expires_at=T0)).id
        failed = await house.until(await house.create(file_id))
        assert failed.status is Status.FAILED
        [error] = failed.errors
        assert (error.code, error.param, error.line) == ("invalid_request", "file_id", None)
        assert file_id in error.message

    run(tmp_path, test)


def test_a_file_whose_bytes_are_gone_breaks_the_batch(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        file = await house.upload(some_lines(3))
        await house.parts.blobs.delete(file.blob)
        failed = await house.until(await house.create(file.id))
        assert failed.status is Status.FAILED
        [error] = failed.errors
        assert (error.code, error.param) == ("internal_error", "input_file_id")

    run(tmp_path, test)


def test_another_accounts_file_is_not_found(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        file = await house.upload(some_lines(1), account="other")
        failed = await house.until(await house.create(file.id))
        assert [error.code for error in failed.errors] == ["invalid_request"]

    run(tmp_path, test)


@pytest.mark.parametrize(("profile", "kept"), [(Profile.QWEN, False), (Profile.OPENAI, True)])
def test_stream_is_handled_by_the_profile(tmp_path: Path, profile: Profile, kept: bool) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        done = await house.until(await house.submit([a_line(1, stream=True)]))
        if kept:
            assert [error.code for error in done.errors] == ["streaming_unsupported"]
        else:
            assert done.counts == Counts(1, 1, 0)

    run(tmp_path, test, profile=profile)


def test_mixed_models_go_each_to_its_own_upstream(tmp_path: Path) -> None:
    async def main() -> None:
        mocks = [MockUpstream(Upstream(models=(name,))) for name in ("a", "b-upstream")]
        urls = [await mock.start() for mock in mocks]
        models = [
            ModelSettings(name="a", upstreams=(UpstreamSettings(url=urls[0]),)),
            ModelSettings(name="b", upstreams=(UpstreamSettings(url=urls[1], model="b-upstream"),)),
        ]
        lines = [a_line(n, "ab"[n % 2]) for n in range(1, 31)]
        async with open_house(tmp_path, models=models, mixed_models=True) as house:
            done = await house.until(await house.submit(lines))
            assert (done.status, done.counts) == (Status.COMPLETED, Counts(30, 30, 0))
            assert done.model is None
            await house.results(done)
        assert [mock.stats.requests for mock in mocks] == [15, 15]
        for mock in mocks:
            await mock.stop()

    asyncio.run(main())


def test_slots_are_never_exceeded_and_batches_run_side_by_side(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        mock.hold()
        large = await house.submit(some_lines(300))
        await mock.wait_for_hits(5)
        small = await house.submit(some_lines(1), window=10 * 86_400.0)
        mock.release()
        done = await house.until(small)
        assert done.counts == Counts(1, 1, 0)
        running = await house.get(large)
        assert not running.status.is_terminal, "the small one waited for the whole large one"
        assert (await house.until(large)).counts == Counts(300, 300, 0)
        assert mock.stats.max_in_flight == 5

    run(tmp_path, test, max_in_flight=5)


def test_the_nearer_deadline_goes_first(tmp_path: Path) -> None:
    async def main() -> None:
        mock = MockUpstream()
        url = await mock.start()
        async with open_house(tmp_path, url, start=False, max_in_flight=2, shard_lines=2) as house:
            late = await house.submit(some_lines(30), window=20 * 86_400.0)
            soon = await house.submit(some_lines(30), window=86_400.0)
            house.start()
            await house.until(soon)
            behind = await house.get(late)
            assert behind.status is Status.IN_PROGRESS
            await house.until(late)
            order = list(mock.hits)
            first = {line_id(soon.id, n) for n in range(1, 31)}
            ranks = [rank for rank, key in enumerate(order) if key in first]
            assert sum(ranks) / len(ranks) < len(order) / 2
        await mock.stop()

    asyncio.run(main())


def test_the_bytes_budget_bounds_what_is_in_memory_and_large_lines_still_pass(
    tmp_path: Path,
) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        lines = [a_line(n, pad="x" * 3000) for n in range(1, 41)]
        mock.hold()
        batch = await house.submit(lines)
        await mock.wait_until(lambda stats: stats.held == 3)
        assert mock.stats.requests == 3, "ten thousand bytes hold three lines of three thousand"
        mock.release()
        done = await house.until(batch)
        assert done.counts == Counts(40, 40, 0)
        assert mock.stats.max_in_flight <= 3

    run(tmp_path, test, max_bytes_in_flight=10_000)


def test_lines_that_wait_for_one_model_do_not_starve_another(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        mock.hold()
        stuck = await house.submit([a_line(n, pad="x" * 3000) for n in range(1, 41)])
        await mock.wait_until(lambda stats: stats.held == 3)
        url = "/v1/chat/ds-test"
        lines = [{**a_line(n, "batch-test-model", pad="x" * 3000), "url": url} for n in range(5)]
        other = await house.until(await house.submit(lines, endpoint=url))
        assert other.counts == Counts(5, 5, 0)
        mock.release()
        assert (await house.until(stuck)).counts == Counts(40, 40, 0)

    run(tmp_path, test, max_bytes_in_flight=10_000)


def test_live_progress_is_written_while_the_batch_runs(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        mock.script = Upstream(slots=1)
        mock.hold()
        batch = await house.submit(some_lines(10))
        await mock.wait_until(lambda stats: stats.held == 1)
        running = await house.get(batch)
        assert (running.status, running.counts.total) == (Status.IN_PROGRESS, 10)
        mock.release()
        assert (await house.until(batch)).counts == Counts(10, 10, 0)

    run(tmp_path, test)


def test_a_batch_on_the_test_endpoint_is_answered_by_the_test_model(tmp_path: Path) -> None:
    async def test(house: House, mock: MockUpstream) -> None:
        url = "/v1/chat/ds-test"
        lines = [{**a_line(n, "batch-test-model"), "url": url} for n in range(1, 4)]
        batch = await house.submit(lines, endpoint=url)
        done = await house.until(batch)
        output, _ = await house.results(done)
        assert {line["response"]["body"]["usage"]["total_tokens"] for line in output} == {26}
        assert mock.stats.requests == 0

    run(tmp_path, test)
