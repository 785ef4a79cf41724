"""What the browser tests rely on: a window that sees trouble, and axe that finds faults."""

from browser_house import Window
from playwright.sync_api import expect

pytest_plugins = ["browser_fixtures"]


def trouble_of(window: Window, script: str) -> str:
    """What the window holds against a page in which ``script`` runs; it is forgiven here."""
    page = window.open("/batches")
    page.evaluate(script)
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => done()))")
    page.wait_for_load_state("networkidle")
    found = "\n".join(window.troubles())
    window.forgive("")
    return found


def test_a_word_in_the_console_is_a_trouble(window: Window) -> None:
    assert "console error: oh" in trouble_of(window, "console.error('oh')")


def test_a_warning_in_the_console_is_a_trouble(window: Window) -> None:
    assert "console warning: oh" in trouble_of(window, "console.warn('oh')")


def test_an_error_of_a_script_is_a_trouble(window: Window) -> None:
    script = "() => { setTimeout(() => { throw new Error('oh'); }); }"
    assert "error of a script" in trouble_of(window, script)


def test_a_breach_of_the_content_policy_is_a_trouble(window: Window) -> None:
    script = "() => { document.body.setAttribute('style', 'color: red'); }"
    assert "Content Security Policy" in trouble_of(window, script)


def test_a_request_to_another_host_is_a_trouble(window: Window) -> None:
    script = "() => { fetch('http://127.0.0.1:9/').catch(() => {}); }"
    found = trouble_of(window, script)
    assert "127.0.0.1:9" in found


def test_a_dialog_of_a_script_is_a_trouble(window: Window) -> None:
    assert "opened a dialog: oh" in trouble_of(window, "alert('oh')")


def test_a_page_as_it_is_has_no_trouble(window: Window) -> None:
    expect(window.open("/batches").locator("h1")).to_have_text("Batches")
    assert window.troubles() == []
