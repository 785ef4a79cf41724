#!/usr/bin/env python3
"""Draws the life of a batch in ARCHITECTURE.md from the transition table.

Run it after a change to ``TABLE`` in ``batchmill/domain/batch.py``; a test
fails while picture and table differ.
"""

from gen_marker import ROOT, fill, write

from batchmill.domain.batch import TABLE, Event, Move, Status

PAGE = ROOT / "ARCHITECTURE.md"


def render() -> str:
    """The whole page, its picture drawn anew."""
    return fill(PAGE, "states", f"```mermaid\n{draw()}\n```")


def draw() -> str:
    """The table as a Mermaid state diagram: an arrow a pair of statuses, with its events."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for status, row in TABLE.items():
        for event, move in row.items():
            for to in _targets(status, move):
                arrows.setdefault((status, to), []).append(_label(event, move))
    lines = [f"    {tail} --> {head}: {', '.join(told)}" for (tail, head), told in arrows.items()]
    ends = [f"    {status} --> [*]" for status in Status if status.is_terminal]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Status.VALIDATING}", *lines, *ends])


def _targets(status: Status, move: Move) -> list[Status]:
    if move.same:
        return [status]
    return [move.to] if move.to is not None else _verdicts(status)


def _verdicts(status: Status) -> list[Status]:
    """The verdicts that a batch may carry in a status: those of the moves that lead there."""
    moves = [move for row in TABLE.values() for move in row.values() if move.to is status]
    return list(dict.fromkeys(move.verdict for move in moves if move.verdict is not None))


def _label(event: Event, move: Move) -> str:
    return f"{event} (verdict {move.verdict})" if move.verdict is not None else event


if __name__ == "__main__":
    write(PAGE, render())
