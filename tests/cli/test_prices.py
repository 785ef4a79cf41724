"""``batchmill prices``: the table in force, the examples, and the check of a file."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from batchmill.cli.prices import register
from batchmill.config import example_prices, load_prices, load_settings, read_prices
from batchmill.domain.errors import ConfigError
from batchmill.domain.limits import DAY
from batchmill.domain.money import text_of
from batchmill.domain.price_table import restore_table
from batchmill.domain.pricing import NO_PRICES
from batchmill.domain.usage import Usage

app = typer.Typer()
register(app)
runner = CliRunner()


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BATCHMILL_CONFIG", raising=False)


def run(*args: str | Path, code: int = 0) -> str:
    result = runner.invoke(app, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


def in_force(tmp_path: Path, text: str) -> tuple[Path, Path]:
    """A table, and a configuration that names it."""
    table, config = tmp_path / "prices.toml", tmp_path / "batchmill.toml"
    table.write_text(text, encoding="utf-8")
    config.write_text(f'[prices]\nfile = "{table}"\n', encoding="utf-8")
    return table, config


@pytest.mark.parametrize("flag", ["--example", "--example-china"])
def test_an_example_can_be_put_in_force_as_it_is(tmp_path: Path, flag: str) -> None:
    table, _ = in_force(tmp_path, run(flag))
    assert run("--check", table).startswith(f"{table}: good; ")


@pytest.mark.parametrize(
    ("china", "model", "tokens", "thinks", "paid"),
    [
        (False, "qwen-max", Usage(10**6, 10**6), False, "4"),
        (False, "qwen-plus", Usage(10**6, 10**6), False, "0.8"),
        (False, "qwen-plus", Usage(10**6, 10**6), True, "2.2"),
        (False, "qwen-flash", Usage(256_000, 0), False, "0.0064"),
        (False, "qwen-flash", Usage(256_001, 0), False, "0.032000125"),
        (False, "qwen-turbo", Usage(0, 10**6), True, "0.25"),
        (True, "qwen-plus", Usage(128_000, 10**6), True, "4.0512"),
        (True, "qwen-plus", Usage(256_000, 10**6), True, "12.3072"),
        (True, "qwen-plus", Usage(10**6, 10**6), True, "34.4"),
        (True, "qwen-flash", Usage(10**6, 10**6), False, "6.6"),
        (True, "qwen-long", Usage(10**6, 10**6), False, "1.25"),
    ],
)
def test_the_examples_hold_the_vendors_prices(
    tmp_path: Path, china: bool, model: str, tokens: Usage, thinks: bool, paid: str
) -> None:
    table, _ = in_force(tmp_path, example_prices(china=china))
    tariff = read_prices(table).tariff(model, at=0.0, window=DAY)
    assert tariff is not None
    assert tariff.currency == ("CNY" if china else "USD")
    assert text_of(tariff.line_price(tokens, thinks=thinks)) == paid


def test_what_is_in_force_is_shown(tmp_path: Path) -> None:
    _, config = in_force(
        tmp_path,
        'currency = "USD"\n[windows]\n7d = "0.6"\n[[prices]]\nmodel = "m"\ninput = "0.50"\n'
        "valid_from = 2026-01-01\n[[prices]]\nmodel='t'\n[[prices.tiers]]\nup_to=1000\ninput=1\n"
        "[[prices.tiers]]\ninput=2\noutput=3\nthinking_output=4\ncached_input=0.1\n",
    )
    lines = run("--config", config).splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["model", "from", "input", "tokens", "input", "output", "thinking", "cached"],
        ["m", "2026-01-01", "any", "0.5", "0", "USD"],
        ["t", "to", "1,000", "1", "0", "USD"],
        ["above", "1,000", "2", "3", "4", "0.1", "USD"],
    ]
    assert lines[-1].endswith("a batch costs 50 % of these, other shares by model or window")


def test_json_is_the_text_that_the_store_keeps(tmp_path: Path) -> None:
    table, config = in_force(tmp_path, example_prices())
    out = run("--config", config, "--json")
    assert restore_table(out.strip()) == read_prices(table)
    assert json.loads(out)["discount"] == "0.5"


def test_without_a_table_nothing_is_priced() -> None:
    assert "Nothing is priced" in run()
    assert load_prices(load_settings(file=None, env={}, flags={}).settings) is NO_PRICES


def test_two_wishes_at_once_are_refused(tmp_path: Path) -> None:
    assert "Give one of" in run("--example", "--check", tmp_path / "x", code=2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = ", "The price table {} is not valid TOML: "),
        ("[[prices]]\ninput = -1", "In the price table {}, prices.0.model is missing: "),
        (None, "The price table {} cannot be read (No such file or directory): "),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path: Path, text: str | None, sentence: str) -> None:
    table = tmp_path / "prices.toml"
    if text is not None:
        table.write_text(text, encoding="utf-8")
    assert run("--check", table, code=2).startswith(f"batchmill: {sentence.format(table)}")
    with pytest.raises(ConfigError):
        read_prices(table)


def test_floats_are_taken_as_they_are_written(tmp_path: Path) -> None:
    """0.1 as a binary fraction has more decimals than a price may have."""
    table, _ = in_force(tmp_path, 'currency = "USD"\n[[prices]]\nmodel = "m"\ninput = 0.1\n')
    assert f"{read_prices(table).prices[0].tiers[0].input}" == "0.1"
