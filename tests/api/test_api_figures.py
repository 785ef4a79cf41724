"""What the gate tells of requests for metrics: bytes in and out, and refusals for their rate."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from api_house import LINE, House, open_house, run

from batchmill.api.gate import Served
from batchmill.api.identity import Doorkeeper, identify_anyone
from batchmill.api.throttle import slowed_by
from batchmill.domain.rates import Rate, RateRule
from batchmill.service.throttle import Throttle


@asynccontextmanager
async def watched(root: Path) -> AsyncIterator[tuple[House, list[Served]]]:
    served: list[Served] = []
    async with open_house(root, observe=served.append) as house:
        yield house, served


def test_the_bytes_of_bodies_are_told_both_ways(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as (house, served):
            file = await house.upload(LINE * 100)
            answer = await house.client.get(f"/v1/files/{file['id']}/content")
            head = await house.client.head(f"/v1/files/{file['id']}/content")
            upload, content, nothing = served
            size = len(LINE) * 100
            assert size < upload.received < size + 1000, "the file and the form around it"
            assert (content.received, content.sent) == (0, size) == (0, len(answer.content))
            assert (nothing.sent, head.headers["content-length"]) == (0, str(size))

    run(main())


def test_what_is_refused_before_it_is_read_counts_no_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as (house, served):
            answer = await house.client.post("/v1/files", content=LINE, headers={"host": "evil"})
            assert answer.status_code == 421
            assert (served[0].received, served[0].sent) == (0, len(answer.content))

    run(main())


def test_a_refusal_for_a_rate_names_it_and_other_answers_name_none(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as (house, served):
            rates = {RateRule.FILE_OTHER: Rate(1, 60.0)}
            throttle = Throttle(rates, house.store.rates, house.clock)
            house.app.state.admit = Doorkeeper(identify_anyone, slowed_by(throttle))
            for path in ("/v1/files", "/v1/files", "/v1/batches", "/nowhere"):
                await house.client.get(path)
            assert [(one.status, one.refused_by) for one in served] == [
                (200, None),
                (429, RateRule.FILE_OTHER),
                (200, None),
                (404, None),
            ]

    run(main())


def test_a_route_is_told_by_its_template_and_without_its_base(tmp_path: Path) -> None:
    async def main() -> None:
        async with watched(tmp_path) as (house, served):
            paths = ("/v1/files/f", "/compatible-mode/v1/files/f", "/healthz", "/v1", "/v1x/files")
            for path in paths:
                await house.client.get(path)
            assert [one.route for one in served] == [
                "/files/{file_id}",
                "/files/{file_id}",
                "/healthz",
                "unknown",
                "unknown",
            ]

    run(main())
