"""The way into a Ray cluster that somebody else has started, and the names of what lives there.

Ray reads its environment when it is imported; so nothing here imports it
before that is settled, and nobody who does not use it pays for it.
"""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from batchmill.domain.errors import ConfigError

DISPATCHER: Final = "dispatcher"
WORKER: Final = "worker"

_MODE, _TOKEN, _TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
_MODES = {"token": "token", "none": "disabled"}

_KNOCK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Session:
    """Which cluster, and whose part of it. ``release`` is part of every actor's name."""

    address: str
    auth: str
    namespace: str
    release: str

    @property
    def dispatcher(self) -> str:
        """The name of this release's dispatcher."""
        return f"{DISPATCHER}-{self.release}"

    def worker(self, node: str) -> str:
        """The name of this release's worker on a node."""
        return f"{WORKER}-{self.release}-{node}"


@contextmanager
def connected(session: Session) -> Iterator[None]:
    """Be a client of the cluster meanwhile. Raises ConfigError where it lets nobody in."""
    prepare_environment(session.auth)
    _knock(session)
    import ray

    try:
        with _refusals_translated(session):
            ray.init(
                address=session.address,
                namespace=session.namespace,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.ERROR,
            )
        yield
    finally:
        ray.shutdown()


def prepare_environment(auth: str) -> None:
    """Say how this process is let in; to be called before Ray is imported. Raises ConfigError."""
    if find_spec("ray") is None:
        raise ConfigError(
            'cluster.kind is "ray", but Ray is not installed: pip install "batchmill[cluster]", '
            "in the same version as the nodes of the cluster have."
        )
    os.environ[_MODE] = _MODES[auth]
    # It would tell its makers of every start.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if auth == "token" and not _has_token():
        raise ConfigError(
            "The Ray cluster's token is missing: set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as its "
            'nodes have it, or put it into ~/.ray/auth_token; with cluster.auth = "none" a '
            "cluster without tokens is used, where whoever reaches it can run anything."
        )


def _has_token() -> bool:
    if os.environ.get(_TOKEN, "").strip():
        return True
    named = os.environ.get(_TOKEN_PATH)
    path = Path(named) if named else Path.home() / ".ray" / "auth_token"
    try:
        return bool(path.read_text(encoding="utf-8").strip())
    except OSError:
        return False


def _knock(session: Session) -> None:
    """Raise ConfigError where nobody listens, which Ray would say after minutes."""
    host, _, port = session.address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():  # "auto": Ray knows where
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(session, error) from error


def _unreachable(session: Session, error: Exception) -> ConfigError:
    return ConfigError(
        f"The Ray cluster at {session.address} cannot be reached ({type(error).__name__}): "
        "check cluster.address, that its head is up, and that this machine is one of its "
        "nodes, with the same versions of Ray and Python."
    )


@contextmanager
def _refusals_translated(session: Session) -> Iterator[None]:
    from ray.exceptions import AuthenticationError, RayError

    try:
        yield
    except AuthenticationError:
        raise ConfigError(
            f"The Ray cluster at {session.address} refuses the token: it must be the one that its "
            "nodes were started with."
        ) from None
    except (ConnectionError, RayError, RuntimeError, ValueError, TimeoutError) as error:
        raise _unreachable(session, error) from error


def named_actors(kind: str) -> list[str]:
    """The names of the living actors of a kind in this namespace, of all releases. Blocks."""
    import ray.util

    names: list[Any] = ray.util.list_named_actors()
    return sorted(name for name in names if str(name).startswith(f"{kind}-"))
