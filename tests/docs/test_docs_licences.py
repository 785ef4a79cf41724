"""Nothing that batchmill needs is under a licence that does not go with its own."""

import runpy
from typing import Any

import pytest
from docs_pages import ROOT


@pytest.fixture
def licences(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names of the generator."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return runpy.run_path(str(ROOT / "scripts" / "gen_licences.py"))


@pytest.mark.parametrize("lock", ["LOCK", "MODEL_LOCK"])
def test_every_licence_is_allowed(licences: dict[str, Any], lock: str) -> None:
    """Each licence of each pinned package is on the list of those that go with Apache-2.0."""
    packages = licences["read_packages"](licences[lock])
    assert packages
    assert {one.name: one.licences for one in packages if not one.licences} == {}
    foreign = {
        one.name: licence
        for one in packages
        for licence in one.licences
        if licence not in licences["ALLOWED"]
    }
    assert foreign == {}


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ("MIT", ("MIT",)),
        ("MIT License", ("MIT",)),
        ("Apache-2.0 OR BSD-2-Clause", ("Apache-2.0", "BSD-2-Clause")),
        ("Apache Software License; MIT License", ("Apache-2.0", "MIT")),
        ("GNU General Public License v3 (GPLv3)", ("GNU General Public License v3 (GPLv3)",)),
        ("UNKNOWN", ("UNKNOWN",)),
    ],
)
def test_licences_are_read(licences: dict[str, Any], told: str, found: tuple[str, ...]) -> None:
    """Names become SPDX's where they are known, and stay what they are, and refused, elsewhere."""
    assert licences["read_licences"](told) == found


def test_every_licence_of_what_the_console_ships_is_allowed(licences: dict[str, Any]) -> None:
    vendored = licences["read_vendored"]()
    assert {one.name for one in vendored} == {"htmx.org", "idiomorph", "uplot"}
    assert {licence for one in vendored for licence in one.licences} <= licences["ALLOWED"]


def test_copyleft_is_not_allowed(licences: dict[str, Any]) -> None:
    """The list has no licence that asks for more than a notice."""
    assert not {name for name in licences["ALLOWED"] if "GPL" in name or "SSPL" in name}
