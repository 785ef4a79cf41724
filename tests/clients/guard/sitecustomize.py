"""Keeps a client on this machine: whatever it connects to or looks up must be the loopback.

Python imports this by itself where its folder is on PYTHONPATH. What was refused
is written to the file that CLIENT_GUARD_LOG names, so that a test can see it.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Any

LOOPBACK = {"127.0.0.1", "::1", "localhost", "", None}


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Refuse connections and look-ups that would leave the machine."""
    if event == "socket.connect" and isinstance(args[1], tuple):
        check(args[1][0])
    elif event == "socket.getaddrinfo":
        check(args[0])


def check(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name in LOOPBACK or name == socket.gethostname():
        return
    with Path(os.environ["CLIENT_GUARD_LOG"]).open("a") as log:
        log.write(f"{name}\n")
    raise ConnectionRefusedError(f"The test lets nothing leave this machine; {name} was asked for.")


if "CLIENT_GUARD_LOG" in os.environ:
    sys.addaudithook(watch)
