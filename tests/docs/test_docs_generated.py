"""What is generated is fresh."""

import runpy
from pathlib import Path

import pytest
from docs_pages import ROOT, name_of, read

SCRIPTS = ROOT / "scripts"
GENERATORS = [
    script
    for script in sorted(SCRIPTS.glob("gen_*.py"))
    if "def render()" in script.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("script", GENERATORS, ids=name_of)
def test_page_is_fresh(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says what its generator would write now."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    generator = runpy.run_path(str(script))
    assert read(generator["PAGE"]) == generator["render"](), f"run {name_of(script)}"


def test_every_generator_is_found() -> None:
    """The pages that the code writes are all among those that are compared."""
    names = {script.stem for script in GENERATORS}
    assert names == {
        "gen_api_doc",
        "gen_cli_doc",
        "gen_errors_doc",
        "gen_facts_doc",
        "gen_licences",
        "gen_settings_doc",
        "gen_state_picture",
    }
