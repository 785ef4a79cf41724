"""Nothing that a user or an operator can meet is missing on its page."""

import ast
import asyncio
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs_pages import ROOT, read

from batchmill import faultpoint
from batchmill.domain.batch import Status
from batchmill.ports import FaultKind

SOURCE = ROOT / "src" / "batchmill"
DOCS = ROOT / "docs"
ERRORS = DOCS / "reference" / "errors.md"


def _run(script: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return runpy.run_path(str(ROOT / "scripts" / script))


def _calls(folder: Path) -> Iterator[ast.Call]:
    for path in folder.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        yield from (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _line_error_codes() -> set[str]:
    """Every code that some code makes a LineError with."""
    return {
        call.args[0].value
        for call in _calls(SOURCE)
        if isinstance(call.func, ast.Name)
        and call.func.id == "LineError"
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def _http_codes() -> set[str]:
    """Every ``code=`` that the service and the door refuse with."""
    keywords = (
        keyword.value
        for folder in (SOURCE / "api", SOURCE / "service")
        for call in _calls(folder)
        for keyword in call.keywords
        if keyword.arg == "code"
    )
    return {
        value.value
        for value in keywords
        if isinstance(value, ast.Constant) and isinstance(value.value, str)
    }


def test_every_validation_code_is_explained() -> None:
    """Whatever code a batch's errors may have stands on the page of errors."""
    codes = _line_error_codes()
    assert "duplicate_custom_id" in codes
    assert {code for code in codes if f"`{code}`" not in read(ERRORS)} == set()


def test_every_http_code_is_explained() -> None:
    """Whatever code an error answer may have stands on the page of errors."""
    codes = _http_codes()
    assert "idempotency_mismatch" in codes
    assert {code for code in codes if f"`{code}`" not in read(ERRORS)} == set()


def test_every_fault_kind_is_explained() -> None:
    """Each reason for having no answer stands on the page of errors."""
    assert {kind for kind in FaultKind if f"`{kind}`" not in read(ERRORS)} == set()


def test_every_route_is_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation of the server's own description has a section."""
    page = read(DOCS / "reference" / "api.md")
    spec = asyncio.run(_run("gen_api_doc.py", monkeypatch)["read_description"]())
    routes = [f"{method.upper()} {path}" for path, row in spec["paths"].items() for method in row]
    assert "POST /v1/batches" in routes
    assert {route for route in routes if f"### `{route}`\n" not in page} == set()


def test_every_status_is_explained() -> None:
    """Each status of a batch stands on the page of promises."""
    page = read(DOCS / "explanation" / "promises.md")
    assert {status for status in Status if f"`{status}`" not in page} == set()


def test_fault_points_are_named() -> None:
    """Each fault point stands on the way of a line, and on the page of crash safety."""
    for page in (ROOT / "ARCHITECTURE.md", DOCS / "explanation" / "crash-safety.md"):
        assert {point for point in faultpoint.POINTS if f"`{point}`" not in read(page)} == set()


def test_every_part_of_the_house_is_listed() -> None:
    """Each folder and each module at the top of the package stands in ARCHITECTURE.md."""
    page = read(ROOT / "ARCHITECTURE.md")
    parts = [f"{path.name}/" for path in SOURCE.iterdir() if (path / "__init__.py").exists()]
    modules = [path.name for path in SOURCE.glob("[a-z]*.py")]
    assert "engine/" in parts
    assert {name for name in (*parts, *modules) if f"  {name} " not in page} == set()


def test_changelog_knows_the_version() -> None:
    """The version of the package is in the list of changes."""
    assert runpy.run_path(str(SOURCE / "__init__.py"))["__version__"] in read(ROOT / "CHANGELOG.md")
