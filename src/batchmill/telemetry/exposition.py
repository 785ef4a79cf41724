"""How figures leave a process: Prometheus' text, and the engine's snapshot in a file.

The engine's process leaves a snapshot that the API's appends to its own text,
so that one ``/metrics`` tells of both.
"""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from batchmill.telemetry.metrics import EngineMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_HEAD = b"\n# HELP "


def render(registry: CollectorRegistry) -> bytes:
    """The exposition text of all metrics in ``registry``."""
    return generate_latest(registry)


def write_snapshot(metrics: EngineMetrics, path: Path, *, now: float) -> None:
    """Replace the file at ``path`` by the engine's numbers; a reader sees the old or the new."""
    metrics.snapshot_time.set(now)
    draft = path.with_name(f"{path.name}.draft")
    draft.write_bytes(render(metrics.registry))
    draft.replace(path)


def read_snapshot(path: Path) -> bytes:
    """The last snapshot; empty where no engine has written one yet."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def merge_expositions(texts: Iterable[bytes], labelled: Iterable[bytes] = ()) -> bytes:
    """One exposition of several. Where two tell of the same metric, the earlier text counts.

    What the ``labelled`` texts tell is added to what the others do: their
    samples differ by a label from all the rest.
    """
    families: dict[bytes, bytes] = {}
    for text in texts:
        for family in _families(text):
            families.setdefault(_name(family), family)
    for text in labelled:
        for family in _families(text):
            name = _name(family)
            known = families.get(name)
            families[name] = family if known is None else known + _samples(family)
    return b"".join(families.values())


def label_exposition(text: bytes, label: str, value: str) -> bytes:
    """The same exposition, each sample with one more label."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    added = f'{label}="{escaped}"'.encode()
    lines = (_labelled(line, added) for line in text.splitlines(keepends=True))
    return b"".join(lines)


def _labelled(line: bytes, added: bytes) -> bytes:
    if line.startswith(b"#") or not line.strip():
        return line
    name, space, rest = line.partition(b" ")
    bare, brace, _ = name.partition(b"{")
    if brace:
        return bare + b"{" + added + b"," + line[len(bare) + 1 :]
    return name + b"{" + added + b"}" + space + rest


def _families(text: bytes) -> Iterable[bytes]:
    """The blocks of a text, each from its ``# HELP`` line to the next."""
    _, *blocks = (b"\n" + text).split(_HEAD)
    return [_HEAD[1:] + block.rstrip(b"\n") + b"\n" for block in blocks]


def _name(family: bytes) -> bytes:
    return family.split(b" ", maxsplit=3)[2]


def _samples(family: bytes) -> bytes:
    lines = family.splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"#"))
