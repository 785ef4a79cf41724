"""Replaces the generated part of a page, between its two markers.

The markers are HTML comments, so that a reader of the page does not see them.
What stands outside of them is written by hand and stays as it is.
"""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def fill(page: Path, name: str, part: str, *, text: str | None = None) -> str:
    """The page with ``part`` between its markers of ``name``; raises ValueError without them.

    ``text`` is the page where it was changed already; by default it is read.
    """
    whole = page.read_text(encoding="utf-8") if text is None else text
    begin, end = f"<!-- generated: {name} -->", f"<!-- end of {name} -->"
    before, found, rest = whole.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{page} has no part {begin} … {end}")
    return f"{before}{begin}\n\n{part.strip()}\n\n{end}{after}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; bars and line ends in cells are escaped."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write(page: Path, text: str) -> None:
    """Write the page and say so."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
    print(f"Wrote {page.relative_to(ROOT)}")
