"""The log lets nothing through but facts; the metrics of two processes make one exposition."""

import io
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO, cast

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from batchmill.domain.errors import StorageFull
from batchmill.telemetry import (
    FIELDS,
    Fact,
    bound,
    configure_logging,
    engine_metrics,
    get_logger,
    http_metrics,
    merge_expositions,
    read_snapshot,
    render,
    write_snapshot,
)
from batchmill.telemetry.guard import LONGEST, shorten, to_scalar

CONTENT = "the prompt itself"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # basicConfig(force=True) would close pytest's own handlers
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def logged(level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level, style="json", stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_fact_is_one_line_with_its_fields() -> None:
    stream = logged()
    get_logger().info(Fact.BATCH_CREATED, batch_id="batch_1", lines=3)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "batch_created", "level": "info", "batch_id": "batch_1", "lines": 3}


def test_a_logger_made_early_follows_the_set_up() -> None:
    log = get_logger()
    stream = logged()
    log.info(Fact.ENGINE_STARTED)
    assert [line["event"] for line in lines(stream)] == ["engine_started"]


def test_bound_fields_are_on_every_line_inside_and_on_none_outside() -> None:
    stream = logged()
    with bound(batch_id="batch_1"):
        get_logger().info(Fact.SHARD_STARTED, shard=0)
        get_logger().info(Fact.SHARD_CLOSED, shard=0)
    get_logger().info(Fact.ENGINE_STOPPED)
    assert [line.get("batch_id") for line in lines(stream)] == ["batch_1", "batch_1", None]


def test_lines_below_the_level_are_not_written() -> None:
    stream = logged("warning")
    get_logger().info(Fact.SHARD_STARTED)
    get_logger().warning(Fact.UPSTREAM_PAUSED)
    assert [line["event"] for line in lines(stream)] == ["upstream_paused"]


def test_text_is_written_on_request_and_json_where_nobody_watches() -> None:
    text, auto = io.StringIO(), io.StringIO()
    configure_logging("info", style="text", stream=text)
    get_logger().info(Fact.FILE_STORED, file_id="file-batch-1", reason="a\nb\x1b[31m")
    configure_logging("info", style="auto", stream=auto)
    get_logger().info(Fact.FILE_STORED, file_id="file-batch-1")
    assert "file_stored" in text.getvalue()
    assert "file_id=file-batch-1" in text.getvalue()
    assert text.getvalue().count("\n") == 1
    assert "\x1b" not in text.getvalue()
    assert lines(auto)[0]["file_id"] == "file-batch-1"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_auto_is_text_on_a_terminal() -> None:
    stream = Terminal()
    configure_logging("info", stream=stream)
    get_logger().info(Fact.ENGINE_STARTED)
    assert not stream.getvalue().startswith("{")


def test_an_unknown_field_is_left_out_and_its_name_told() -> None:
    stream = logged()
    get_logger().info(Fact.LINE_RETRIED, body=CONTENT, said=CONTENT, level=CONTENT, line=1)
    (line,) = lines(stream)
    assert CONTENT not in stream.getvalue()
    assert line["dropped"] == "body,level,said"
    assert (line["line"], line["level"]) == (1, "info")


def test_an_event_that_is_no_fact_is_not_written() -> None:
    stream = logged()
    get_logger().info(CONTENT)
    get_logger().info("%s", CONTENT)
    assert CONTENT not in stream.getvalue()
    assert [line["event"] for line in lines(stream)] == ["unnamed", "unnamed"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"secret", "<6 bytes>"),
        ({"a": 1}, "<dict>"),
        (["a"], "<list>"),
        (ValueError("a"), "<ValueError>"),
        (Path("/data"), "/data"),
        (Fact.UNNAMED, "unnamed"),
        (float("nan"), "nan"),
        (1.5, 1.5),
        (None, None),
        (True, True),
    ],
)
def test_only_scalars_are_shown(value: object, shown: object) -> None:
    assert to_scalar(value) == shown


def test_a_text_is_cut_at_its_bound_and_not_before() -> None:
    assert shorten("x" * LONGEST) == "x" * LONGEST
    assert shorten("x" * (LONGEST + 1)) == "x" * (LONGEST - 1) + "…"


_ODD = st.text("a \n\r\x00\x1b\u2028é\ud800", max_size=300)
_ANYTHING: st.SearchStrategy[Any] = st.one_of(
    _ODD, st.binary(), st.floats(), st.integers(), st.lists(_ODD, max_size=2), st.none()
)


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), _ANYTHING))
def test_whatever_is_logged_is_one_line_of_strict_json(fields: Mapping[str, Any]) -> None:
    stream = logged()
    get_logger().info(Fact.SHARD_CLOSED, **fields)
    text = stream.getvalue()
    assert text.count("\n") == 1
    line = json.loads(text, parse_constant=pytest.fail)
    assert not [value for value in line.values() if isinstance(value, str) and len(value) > LONGEST]


def stumble(error: Exception) -> None:
    raise error


def test_an_exception_tells_its_type_and_place_but_not_its_message() -> None:
    stream = logged()
    try:
        stumble(ValueError(CONTENT))
    except ValueError:
        get_logger().exception(Fact.REQUEST_FAILED, request_id="r")
    (line,) = lines(stream)
    assert line["error"] == "ValueError"
    assert line["trace"].startswith("test_telemetry.py:")
    assert CONTENT not in stream.getvalue()


@pytest.mark.parametrize(
    ("error", "because"),
    [
        (StorageFull("The disk is full; make room."), "The disk is full; make room."),
        (OSError(28, "No space left on device", CONTENT), "No space left on device"),
    ],
)
def test_a_reason_that_is_harmless_is_told(error: Exception, because: str) -> None:
    stream = logged()
    get_logger().error(Fact.STORAGE_FULL, exc_info=error)
    assert lines(stream)[0]["because"] == because
    assert CONTENT not in stream.getvalue()


def test_libraries_are_heard_without_their_values() -> None:
    stream = logged()
    logging.getLogger("some.library").warning("took %d tries for %s", 3, CONTENT)
    with_values = f"Exception in callback <f({CONTENT!r})>\n{CONTENT}"
    logging.getLogger("asyncio").error(with_values)
    first, second = lines(stream)
    assert CONTENT not in stream.getvalue()
    assert (first["event"], first["logger"], first["level"]) == (
        "library_said",
        "some.library",
        "warning",
    )
    assert first["said"] == "took 3 tries for …"
    assert second["said"] == "Exception in callback"


def test_a_librarys_exception_is_told_without_its_message() -> None:
    stream = logged()
    try:
        stumble(KeyError(CONTENT))
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
    (line,) = lines(stream)
    assert (line["said"], line["error"]) == ("Exception in ASGI application", "KeyError")
    assert CONTENT not in stream.getvalue()


def test_libraries_are_not_heard_below_a_warning() -> None:
    stream = logged("debug")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
    logging.getLogger("odd.level").log(35, "between the levels")
    logging.getLogger("mapped").warning("%(a)s", {"a": CONTENT})
    assert [line["logger"] for line in lines(stream)] == ["odd.level", "mapped"]
    assert CONTENT not in stream.getvalue()


def sample(text: bytes, name: str, **labels: str) -> float:
    """The value of one sample; parsing also proves that the text is an exposition."""
    found = [
        entry.value
        for family in text_string_to_metric_families(text.decode())
        for entry in family.samples
        if entry.name == name and entry.labels == labels
    ]
    assert len(found) == 1, (name, found)
    return found[0]


def test_metrics_are_counted_in_their_own_registry() -> None:
    first, second = http_metrics(), http_metrics()
    first.requests.labels("GET", "/v1/files", "200").inc()
    text = render(first.registry)
    labels = {"method": "GET", "route": "/v1/files", "status": "200"}
    assert sample(text, "batchmill_http_requests_total", **labels) == 1
    assert b"batchmill_http_requests_total{" not in render(second.registry)


def test_the_engines_numbers_reach_the_other_process_through_a_file(tmp_path: Path) -> None:
    path = tmp_path / "engine.prom"
    engine, http = engine_metrics(), http_metrics()
    engine.lanes.settled.labels("qwen-plus", "completed").inc(5)
    engine.lanes.upstream_up.labels("qwen-plus", 'http://x/"v1"').set(1)
    http.request_seconds.labels("/v1/files").observe(0.2)
    write_snapshot(engine, path, now=1000.0)
    merged = merge_expositions([render(http.registry), read_snapshot(path)])
    labels = {"model": "qwen-plus", "outcome": "completed"}
    assert sample(merged, "batchmill_lines_settled_total", **labels) == 5
    served = {"model": "qwen-plus", "upstream": 'http://x/"v1"'}
    assert sample(merged, "batchmill_upstream_up", **served) == 1
    assert sample(merged, "batchmill_http_request_seconds_count", route="/v1/files") == 1
    assert sample(merged, "batchmill_engine_snapshot_time_seconds") == 1000.0
    assert list(tmp_path.iterdir()) == [path]


def test_the_two_processes_share_no_metric() -> None:
    def names(text: bytes) -> set[str]:
        return {family.name for family in text_string_to_metric_families(text.decode())}

    http, engine = render(http_metrics().registry), render(engine_metrics().registry)
    assert names(http) & names(engine) == set()
    assert names(merge_expositions([http, engine])) == names(http) | names(engine)


def test_a_metric_that_two_texts_tell_is_taken_from_the_first() -> None:
    first, second = engine_metrics(), engine_metrics()
    first.lanes.resent.inc(1)
    second.lanes.resent.inc(2)
    texts = [render(metrics.registry) for metrics in (first, second)]
    assert sample(merge_expositions(texts), "batchmill_lines_resent_total") == 1


def test_a_snapshot_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "engine.prom"
    engine = engine_metrics()
    write_snapshot(engine, path, now=1.0)
    before = path.open("rb")
    write_snapshot(engine, path, now=2.0)
    with before:
        assert sample(before.read(), "batchmill_engine_snapshot_time_seconds") == 1.0
    assert sample(read_snapshot(path), "batchmill_engine_snapshot_time_seconds") == 2.0


def test_without_an_engine_there_is_nothing_to_merge(tmp_path: Path) -> None:
    http = render(http_metrics().registry)
    assert read_snapshot(tmp_path / "engine.prom") == b""
    assert merge_expositions([http, b""]) == http
    assert merge_expositions([]) == b""


class Unheard:
    """A pipe whose other end is closed."""

    def isatty(self) -> bool:
        return False

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_log_whose_reader_is_gone_stops_nobody() -> None:
    configure_logging("info", style="json", stream=cast("TextIO", Unheard()))
    get_logger().info(Fact.ENGINE_STARTED)
    logging.getLogger("library").warning("unheard")
