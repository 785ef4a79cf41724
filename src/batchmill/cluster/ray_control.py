"""What an operator does with a cluster's actors. Everything blocks, and needs a session."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from batchmill.cluster.ray_actors import DispatcherActor, DispatcherOpener, Papers, Standing
from batchmill.cluster.ray_session import DISPATCHER, WORKER, Session, named_actors

_ANSWER_SECONDS = 15.0
_POLL_SECONDS = 0.2
_STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster, as Ray knows it."""

    name: str
    address: str
    is_head: bool


def nodes() -> list[Node]:
    """The living nodes."""
    import ray

    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [
        Node(
            one["NodeID"],
            one["NodeManagerAddress"],
            "node:__internal_head__" in one["Resources"],
        )
        for one in known
        if one["Alive"]
    ]


def start_dispatcher(
    session: Session, opener: DispatcherOpener, papers: Papers, resource: str | None
) -> bool:
    """Put the dispatcher of this release on the cluster; False where it is there already."""
    import ray

    if session.dispatcher in named_actors(DISPATCHER):
        return False
    options: dict[str, Any] = {
        "name": session.dispatcher,
        "namespace": session.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "max_restarts": -1,
        "num_cpus": 0,
        # As little as makes Ray choose a node that offers it.
        "resources": {resource: 0.001} if resource is not None else {},
    }
    ray.remote(DispatcherActor).options(**options).remote(opener, papers, session)
    return True


def standings(session: Session) -> Mapping[str, Standing | None]:
    """How each dispatcher is, by name; None where it does not answer."""
    return {name: _standing(session, name) for name in named_actors(DISPATCHER)}


def await_standing(session: Session, seconds: float) -> Standing | None:
    """How this release's dispatcher is once it leads, or at the end of the time; None: unknown."""
    end = time.monotonic() + seconds
    while True:
        found = _standing(session, session.dispatcher)
        if (found is not None and found.epoch) or time.monotonic() >= end:
            return found
        time.sleep(_POLL_SECONDS)


def drain(session: Session, name: str, grace: float) -> None:
    """Let a dispatcher and its workers end what is in flight, and be gone.

    Raises TimeoutError where that takes much longer than ``grace`` seconds.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    actor: Any = ray.get_actor(name, namespace=session.namespace)
    try:
        ray.get(actor.drain.remote(grace), timeout=grace + _STOP_SECONDS)
    except GetTimeoutError:
        raise TimeoutError(name) from None
    except RayError:  # it broke meanwhile: ended it must be all the same
        pass
    ray.kill(actor, no_restart=True)
    _await_gone(name)


def kill_all(session: Session) -> int:
    """End every dispatcher and worker of the namespace at once; how many there were."""
    import ray

    names = [*named_actors(DISPATCHER), *named_actors(WORKER)]
    for name in names:
        try:
            ray.kill(ray.get_actor(name, namespace=session.namespace), no_restart=True)
        except ValueError:  # it went by itself
            continue
    for name in names:
        _await_gone(name)
    return len(names)


def _await_gone(name: str) -> None:
    """Until Ray knows the name no more, so that it can be given again."""
    kind = DISPATCHER if name.startswith(DISPATCHER) else WORKER
    end = time.monotonic() + _STOP_SECONDS
    while name in named_actors(kind) and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)


def _standing(session: Session, name: str) -> Standing | None:
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        actor: Any = ray.get_actor(name, namespace=session.namespace)
        found: Any = ray.get(actor.standing.remote(), timeout=_ANSWER_SECONDS)
    except (GetTimeoutError, RayError, ValueError):
        return None
    return found if isinstance(found, Standing) else None
