"""``check --price``: the estimate of a file without a server, run as a person runs it."""

import asyncio
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from batchmill.cli.files_local import register
from batchmill.upstream.mock import MockUpstream, Script, Tokenizes

app = typer.Typer()
register(app)
runner = CliRunner()

TABLE = """
currency = "USD"
[[prices]]
model = "qwen-plus"
input = "0.40"
output = "1.20"
[[prices]]
model = "yuan"
currency = "CNY"
input = 1
"""


def request(custom_id: str, text: str = "one two", model: str = "qwen-plus", **body: Any) -> str:
    members = {"model": model, "messages": [{"role": "user", "content": text}]} | body
    line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions"}
    return json.dumps(line | {"body": members}) + "\n"


def run(*args: str | Path, stdin: str | None = None, code: int = 0) -> str:
    result = runner.invoke(app, ["check", *map(str, args)], input=stdin, env={})
    assert result.exit_code == code, result.output
    return result.stdout if code != 2 else result.stderr


def estimate(*args: str | Path, stdin: str | None = None, code: int = 0) -> dict[str, Any]:
    found = json.loads(run("--price", "--json", *args, stdin=stdin, code=code))
    assert isinstance(found, dict)
    return found


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BATCHMILL_CONFIG", raising=False)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(TABLE, encoding="utf-8")
    return path


def write(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def upstream() -> Iterator[MockUpstream]:
    """A server that counts words, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    mock = MockUpstream(Script(tokenizes=Tokenizes.VLLM))
    try:
        asyncio.run_coroutine_threadsafe(mock.start(), loop).result(60)
        yield mock
    finally:
        asyncio.run_coroutine_threadsafe(mock.stop(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_the_price_stands_below_the_verdict(tmp_path: Path, table: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1", "x" * 400, max_tokens=1000))
    text = len(json.dumps([{"role": "user", "content": "x" * 400}]))
    tokens = -(-text // 4)
    verdict, *facts = run("--price", "--prices", table, file).splitlines()
    assert verdict.startswith(f"{file}: good; 1 request")
    assert facts == [
        f"{file}: qwen-plus: 1 line, {tokens} input tokens (a quarter of the bytes)",
        f"{file}: input: 0.0000218 USD in a batch, 0.0000436 outside",
        f"{file}: with output: at most 0.0006218 USD in a batch, 0.0012436 outside",
    ]


def test_output_without_a_bound_has_no_price(tmp_path: Path, table: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"))
    assert "not bounded, for lines have no max_tokens" in run("--price", "--prices", table, file)


def test_a_model_without_a_price_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"))
    assert "no price for qwen-plus: name a table with --prices" in run("--price", file)


def test_a_plain_check_says_nothing_of_prices(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"))
    assert len(run(file).splitlines()) == 1
    assert "estimate" not in json.loads(run(file, "--json"))


def test_json_holds_what_the_api_answers(tmp_path: Path, table: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1", max_tokens=5))
    found = estimate("--prices", table, file)["estimate"]
    assert (found["object"], found["method"]) == ("batch.estimate", "bytes")
    assert found["totals"][0]["currency"] == "USD"
    assert found["duration"]["reason"]


def test_the_table_of_the_settings_is_taken(tmp_path: Path, table: Path) -> None:
    config = write(tmp_path / "batchmill.toml", f'[prices]\nfile = "{table}"\n')
    file = write(tmp_path / "in.jsonl", request("1"))
    assert estimate("--config", config, file)["estimate"]["unpriced_models"] == []


@pytest.mark.parametrize("given", ["--upstream", "--config"])
def test_the_upstream_counts_the_tokens(
    tmp_path: Path, table: Path, upstream: MockUpstream, given: str
) -> None:
    config = write(
        tmp_path / "batchmill.toml",
        f'[[models]]\nname = "qwen-plus"\n[[models.upstreams]]\nurl = "{upstream.url}"\n',
    )
    where = upstream.url if given == "--upstream" else config
    content = "".join(request(str(at), "a b c") for at in range(3))
    for args, stdin in (((write(tmp_path / "in.jsonl", content),), None), (("-",), content)):
        found = estimate("--prices", table, given, where, *args, stdin=stdin)["estimate"]
        assert (found["method"], found["input_tokens"]) == ("tokenizer", 9)


def test_an_upstream_that_is_down_costs_nobody_the_estimate(tmp_path: Path, table: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"))
    found = estimate("--prices", table, "--upstream", "http://127.0.0.1:9/v1", file)
    assert found["estimate"]["method"] == "bytes"


def test_bad_lines_are_told_and_the_good_ones_priced(tmp_path: Path, table: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"), request("1"), request("2"))
    found = estimate("--prices", table, file, code=1)
    assert (found["bad_lines"], found["estimate"]["models"][0]["lines"]) == (1, 2)


def test_two_currencies_in_a_file_are_a_fault(tmp_path: Path, table: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"), request("2", model="yuan"))
    out = run("--price", "--prices", table, "--mixed-models", file, code=1)
    assert "mismatched_currency" in out
    assert "refused as a whole" in out


def test_a_wrong_table_is_one_sentence(tmp_path: Path) -> None:
    file = write(tmp_path / "in.jsonl", request("1"))
    table = write(tmp_path / "wrong.toml", "curency = 1")
    err = run("--price", "--prices", table, file, code=2)
    assert err == (
        f"batchmill: In the price table {table}, curency is not known; did you mean currency?\n"
    )


def test_an_empty_file_is_a_fault_as_ever(tmp_path: Path) -> None:
    assert "empty_file" in run("--price", write(tmp_path / "in.jsonl"), code=1)
