"""Links lead somewhere, and every page can be reached."""

from pathlib import Path

import pytest
from docs_pages import PAGES, ROOT, anchors_of, links_of, name_of

DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_internal_links_resolve(page: Path) -> None:
    """Every relative link names a file or folder that is there, and a heading that it has."""
    for link in links_of(page):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_every_page_is_reachable() -> None:
    """Each page below docs/ is linked from the index."""
    index = DOCS / "index.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in links_of(index)}
    assert {page for page in PAGES if page.is_relative_to(DOCS)} - linked == {index}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_page_has_one_title(page: Path) -> None:
    """A page begins with its only first-rank heading."""
    lines = page.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    fences = 0
    titles = 0
    for line in lines:
        fences += line.startswith("```")
        titles += fences % 2 == 0 and line.startswith("# ")
    assert titles == 1
