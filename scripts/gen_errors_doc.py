#!/usr/bin/env python3
"""Fills the tables of docs/reference/errors.md from the code that makes the errors.

Run it after a change to a validation code, an HTTP error or a fault of the
transport; a test fails while the page is stale.
"""

import inspect
from collections.abc import Callable
from typing import Any

from gen_marker import ROOT, fill, table, write

from batchmill.api import docs, usage_samples
from batchmill.api import faults as samples
from batchmill.api.docs import EVERYWHERE, Sample
from batchmill.api.errors import KINDS
from batchmill.domain import faults
from batchmill.domain.batch import Halt, LineError
from batchmill.domain.results import (
    BUDGET_CODE,
    CANCELLED_CODE,
    CANCELLED_MESSAGE,
    EXPIRED_CODE,
    EXPIRED_MESSAGE,
    HALT_MESSAGES,
    UPSTREAM_CODE,
)
from batchmill.engine.delivery import _UNDONE
from batchmill.engine.lane import _FAULT_TEXT
from batchmill.ports import FaultKind

PAGE = ROOT / "docs" / "reference" / "errors.md"

# An example of everything that a fault is told, by the name of its parameter.
_TOLD: dict[str, Any] = {
    "line": 3,
    "max_bytes": 6291456,
    "max_chars": 256,
    "max_lines": 50000,
    "max_inputs": 50000,
    "left_out": 17,
    "param": "custom_id",
    "expected": "a string",
    "got": "an integer",
    "custom_id": "request-1",
    "method": "GET",
    "url": "/v1/images",
    "model": "gpt-0",
    "is_test_model": True,
    "is_chat": True,
    "currencies": ("CNY", "USD"),
}

# What happens to the line after each fault: a kind that is new here has to be told of.
_NEXT = {
    FaultKind.UNREACHABLE: "The upstream is paused; the line waits for it and loses no attempt.",
    FaultKind.RESET: "An attempt is spent and the line is retried. A kept connection that ends "
    "before the first byte is another matter: the line is sent again at once and loses nothing.",
    FaultKind.TIMEOUT: "An attempt is spent and the line is retried.",
    FaultKind.TOO_LARGE: "The line fails at once: the next answer would be as large.",
    FaultKind.GARBLED: "An attempt is spent and the line is retried.",
}


def render() -> str:
    """The whole page, its tables filled anew."""
    text = fill(PAGE, "validation", _validation())
    text = fill(PAGE, "http", _http(), text=text)
    text = fill(PAGE, "kinds", _kinds(), text=text)
    text = fill(PAGE, "lines", _lines(), text=text)
    return fill(PAGE, "faults", _faults(), text=text)


def validation_errors() -> list[tuple[LineError, str]]:
    """An example of every fault that validation finds, with its sentence, in the file's order."""
    makers = [
        value
        for _, value in inspect.getmembers(faults, inspect.isfunction)
        if inspect.signature(value).return_annotation is LineError
    ]
    makers.sort(key=lambda maker: maker.__code__.co_firstlineno)
    return [(_make(maker), _sentence(maker)) for maker in makers]


def _sentence(maker: Callable[..., LineError]) -> str:
    """The maker's docstring without what only a programmer asks for, behind the semicolon."""
    told = (inspect.getdoc(maker) or "").partition(";")[0].replace("``", "`")
    return f"{told.rstrip('.')}."


def _make(maker: Callable[..., LineError]) -> LineError:
    return maker(**{name: _TOLD[name] for name in inspect.signature(maker).parameters})


def _validation() -> str:
    rows = [
        [
            f"`{error.code}`",
            f"`{error.param}`" if error.param else "",
            "line" if error.line else "file",
            told,
            error.message,
        ]
        for error, told in validation_errors()
    ]
    return table(["Code", "`param`", "Of", "Meaning", "Message, for example"], rows)


def http_samples() -> list[Sample]:
    """Every error that an operation is described with, by status."""
    modules = (samples, usage_samples, docs)
    found = {one for of in modules for one in vars(of).values() if isinstance(one, Sample)}
    return sorted({*found, *EVERYWHERE}, key=lambda one: (one.status, one.name, one.message))


def _http() -> str:
    rows = [
        [
            str(one.status),
            f"`{one.code}`" if one.code else "null",
            f"`{one.param}`" if one.param else "null",
            one.message,
        ]
        for one in http_samples()
    ]
    return table(["Status", "`code`", "`param`", "Message, for example"], rows)


def _kinds() -> str:
    rows = sorted({(str(kind.status), f"`{kind.type}`", _retry(kind)) for kind in KINDS.values()})
    return table(["Status", "`type`", "Headers besides"], [list(row) for row in rows])


def _retry(kind: Any) -> str:
    return ", ".join(f"`{name}: {value}`" for name, value in kind.headers.items()) or "none"


def _lines() -> str:
    lost_code, lost_message = _UNDONE[next(iter(_UNDONE))]
    rows = [
        [f"`{EXPIRED_CODE}`", "The deadline passed first.", EXPIRED_MESSAGE],
        [f"`{CANCELLED_CODE}`", "The batch was cancelled first.", CANCELLED_MESSAGE],
        [
            f"`{BUDGET_CODE}`",
            "The budget or a monthly limit was reached first.",
            HALT_MESSAGES[Halt.BUDGET],
        ],
        [
            f"`{UPSTREAM_CODE}`",
            "The upstream gave no usable answer, however often it was asked.",
            _FAULT_TEXT[FaultKind.TIMEOUT],
        ],
        [f"`{lost_code}`", "The disk damaged a result that had been stored.", lost_message],
    ]
    return table(["`error.code`", "Meaning", "Message, for example"], rows)


def _faults() -> str:
    rows = [[f"`{kind}`", _FAULT_TEXT[kind], _NEXT[kind]] for kind in FaultKind]
    return table(["Kind", "Message in the error file", "What happens"], rows)


if __name__ == "__main__":
    write(PAGE, render())
