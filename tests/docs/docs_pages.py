"""The pages, taken apart: blocks with their marks, links, headings, commands.

A block is run by a test where an HTML comment stands on the line before it:
``<!-- run -->``, or ``<!-- run: 1 -->`` where it has to end with that exit
code. ``<!-- output -->`` before a block says that it is what the block run
last printed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))

_BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>run(?:: (?P<code>\d+))?|output) -->\n)?"
    r"```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``mark`` is run, output or empty; ``code`` is how a run has to end."""

    language: str
    text: str
    mark: str
    code: int


def read(page: Path) -> str:
    """The page's text."""
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    """The page as tests name it."""
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> list[Block]:
    """Its fenced blocks, in order."""
    return [
        Block(
            language=found["language"],
            text=found["text"],
            mark=(found["mark"] or "").partition(":")[0],
            code=int(found["code"] or 0),
        )
        for found in _BLOCK.finditer(read(page))
    ]


def prose_of(page: Path) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", read(page))


def links_of(page: Path) -> list[str]:
    """The targets of its links."""
    return _LINK.findall(prose_of(page))


def anchors_of(page: Path) -> set[str]:
    """The fragments by which its headings are linked."""
    return {_slug(heading) for heading in _HEADING.findall(prose_of(page))}


def _slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def commands_of(page: Path) -> Iterator[str]:
    """Every call of ``batchmill``, in blocks of shell and in the prose, arguments included."""
    shell = [block.text.replace("\\\n", " ") for block in blocks_of(page) if block.language == "sh"]
    for line in "\n".join(shell).splitlines():
        call = re.search(r"(?:^|[\s/])batchmill (.*)", line)
        if call and not line.lstrip().startswith(
            ("#", "pip", "useradd", "systemctl", "journalctl")
        ):
            yield re.split(r" #|\||;|&&|>", call[1])[0].strip()
    for span in _SPAN.findall(prose_of(page)):
        if span.startswith("batchmill "):
            yield span.removeprefix("batchmill ").strip()
