"""What pages are made of: vendored files unchanged, nothing from outside, nothing run in place."""

import re
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from api_house import run
from console_house import open_console

CONSOLE = Path(str(files("batchmill.console")))
VENDOR = CONSOLE / "static" / "vendor"
_ROW = re.compile(
    r"^\| (\S+\.\w+) \| (\S+) \| ([0-9.]+) \| (\S+) \| ([0-9a-f]{64}) \|$", re.MULTILINE
)


def test_every_vendored_file_is_the_one_that_the_table_names() -> None:
    rows = {row[1]: row for row in _ROW.finditer((VENDOR / "README.md").read_text())}
    shipped = {path.name for path in VENDOR.iterdir() if path.suffix in {".js", ".css"}}
    assert set(rows) == shipped
    for name, row in rows.items():
        assert sha256((VENDOR / name).read_bytes()).hexdigest() == row[5], name
        licence = VENDOR / f"{row[2].removesuffix('.org')}.LICENSE"
        assert licence.is_file(), licence


def test_no_template_marks_anything_as_safe_or_styles_or_scripts_in_place() -> None:
    for path in (CONSOLE / "templates").iterdir():
        text = path.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape", text), path
        assert not re.search(r"\sstyle=|<style|\son[a-z]+=|hx-on|javascript:", text), path
        assert not re.search(r"<script(?![^>]*\ssrc=)", text), path
        assert not re.search(r"(?:src|href)=\"https?:", text), path


def test_no_script_of_ours_makes_markup_of_text_or_code_of_it() -> None:
    for path in (CONSOLE / "static").glob("*.js"):
        text = path.read_text()
        for word in ("innerHTML =", "outerHTML =", "insertAdjacentHTML", "eval(", "new Function"):
            assert word not in text, (path, word)


def test_assets_may_be_kept_for_good_and_change_their_names_with_their_bytes(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        async with open_console(tmp_path) as visitor:
            page = (await visitor.get("/batches")).text
            named = re.findall(r'(?:src|href)="/console(/static/[^"]+)"', page)
            assert len(named) > 5
            for path in named:
                asset = await visitor.get(path)
                assert asset.status_code == 200, path
                assert "immutable" in asset.headers["cache-control"]
                assert asset.headers["x-content-type-options"] == "nosniff"
                digest = sha256(asset.content).hexdigest()
                assert path.endswith(f"?v={digest[:12]}"), path

    run(main())
