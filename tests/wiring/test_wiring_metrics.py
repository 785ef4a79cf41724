"""``/metrics`` of a server, as its operator scrapes it."""

import asyncio
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from batchmill.config import Settings
from batchmill.config.settings import DataSettings, RateSettings
from batchmill.domain.rates import Rate
from batchmill.telemetry import engine_metrics, write_snapshot
from batchmill.wiring.api import make_app
from batchmill.wiring.parts import Paths, open_parts


def sample(text: str, name: str, **labels: str) -> float | None:
    """The value of one sample; parsing also proves that the text is an exposition."""
    found = [
        entry.value
        for family in text_string_to_metric_families(text)
        for entry in family.samples
        if entry.name == f"batchmill_{name}" and entry.labels == labels
    ]
    assert len(found) <= 1, found
    return found[0] if found else None


def test_a_scrape_tells_of_both_processes(tmp_path: Path) -> None:
    async def main() -> str:
        rates = RateSettings(file_other=Rate(1, 3600.0))
        settings = Settings(data=DataSettings(dir=tmp_path), rates=rates)
        async with open_parts(settings) as parts:
            engine = engine_metrics()
            engine.lanes.answer_seconds.of("m").note(0.3)
            write_snapshot(engine, Paths(tmp_path).snapshot, now=5.0)
            door = httpx2.ASGITransport(app=make_app(settings, parts, lambda: None))
            async with httpx2.AsyncClient(transport=door, base_url="http://localhost") as client:
                file = {"file": ("a", b"{}\n" * 1000)}
                answer = await client.post("/v1/files", data={"purpose": "batch"}, files=file)
                assert answer.status_code == 200
                for status in (200, 429, 429):
                    assert (await client.get("/v1/files")).status_code == status
                return (await client.get("/metrics")).text

    text = asyncio.run(main())
    received = sample(text, "http_received_bytes_total", route="/files")
    assert received is not None
    assert 3000 < received < 4000
    assert (sample(text, "http_sent_bytes_total", route="/files") or 0) > 0
    assert sample(text, "http_rate_limited_total", rule="file_other") == 2
    refused = {"method": "GET", "route": "/files", "status": "429"}
    assert sample(text, "http_requests_total", **refused) == 2
    assert sample(text, "answer_seconds_bucket", model="m", le="0.5") == 1
    assert sample(text, "engine_snapshot_time_seconds") == 5.0
