"""The model board: what is served, at which price, and how its upstreams are doing now.

Figures of upstreams come from the engine; without it they are None, and the
rest of the board stands. Only operators learn where upstreams are. What a
model has to do, and how fast it is, is over the batches of everybody.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from batchmill.domain.catalog import ENDPOINTS, Catalog
from batchmill.domain.estimate import Pace
from batchmill.domain.limits import DAY
from batchmill.domain.pacing import Bound
from batchmill.domain.pricing import PriceTable
from batchmill.domain.regions import ANYWHERE
from batchmill.ports import BatchStore, Clock
from batchmill.service.batches import ProgressSource
from batchmill.service.caller import Caller
from batchmill.service.models import may_call
from batchmill.service.paces import paces_of
from batchmill.service.price_tags import PriceTag, price_tag

# Many may look at the board, each every second or two: they share one look at the store.
_REMEMBERED_SECONDS: Final = 1.0

# How many seconds a batch is given whose price is shown: the shortest window of the API.
_WINDOW: Final = DAY


@dataclass(frozen=True, slots=True)
class UpstreamFigures:
    """What the engine says of an upstream: None is what it has not said.

    ``limit`` is how many requests it may hold now, and ``bound`` why no more are
    in flight; ``faults`` are requests without an acceptable answer since the
    engine started.
    """

    is_up: bool | None = None
    in_flight: int | None = None
    limit: int | None = None
    faults: int | None = None
    bound: Bound | None = None


UNTOLD = UpstreamFigures()

FiguresSource = Callable[[], Mapping[tuple[str, str], UpstreamFigures] | None]
"""The engine's figures by model and upstream, as it names them; None while it does not live."""


@dataclass(frozen=True, slots=True)
class Seat:
    """An upstream as it is configured: the engine's name for it, and its host and port.

    ``is_allowed`` says whether the model's lines may be computed there.
    """

    name: str
    address: str
    weight: float = 1.0
    region: str | None = None
    is_allowed: bool = True


@dataclass(frozen=True, slots=True)
class Backing:
    """What answers for a model, and the rule of where its lines may be computed."""

    seats: tuple[Seat, ...] = ()
    is_builtin: bool = False
    compute_regions: tuple[str, ...] = (ANYWHERE,)


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An upstream as it stands. ``url`` is its host and port, or a number instead of them.

    Where it is not allowed, no line of the model is sent there.
    """

    url: str
    weight: float
    is_up: bool | None = None
    in_flight: int | None = None
    limit: int | None = None
    faults: int | None = None
    bound: Bound | None = None
    region: str | None = None
    is_allowed: bool = True


@dataclass(frozen=True, slots=True)
class ModelState:
    """A model as it stands. ``price`` None: it costs nothing.

    ``lines_per_second`` is None where nothing runs, and without an engine;
    ``unfinished_lines`` are those of planned batches. A model that is not
    served has no upstream where its lines may be computed.
    """

    name: str
    endpoints: tuple[str, ...]
    price: PriceTag | None
    upstreams: tuple[UpstreamState, ...]
    builtin: bool
    lines_per_second: float | None
    unfinished_lines: int
    compute_regions: tuple[str, ...] = (ANYWHERE,)
    is_served: bool = True

    @property
    def has_regions(self) -> bool:
        """Whether it matters to it where lines are computed, or somebody has said where."""
        is_open = self.compute_regions == (ANYWHERE,)
        return not is_open or any(one.region for one in self.upstreams)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the board is about: the models, what answers for them, their prices."""

    catalog: Catalog
    prices: PriceTable
    backings: Mapping[str, Backing] = field(default_factory=dict)


_IDLE = Pace(None)
_NOTHING = Backing()


class ModelBoard:
    """The use-case of the board."""

    def __init__(
        self,
        *,
        offer: Offer,
        batches: BatchStore,
        clock: Clock,
        figures: FiguresSource = lambda: None,
        progress: ProgressSource = lambda _: None,
    ) -> None:
        self._offer = offer
        self._batches = batches
        self._clock = clock
        self._figures = figures
        self._progress = progress
        self._paces: Mapping[str, Pace] = {}
        self._paced_at: float | None = None

    def engine_lives(self) -> bool:
        """Whether the engine tells of its upstreams now."""
        return self._figures() is not None

    async def look(self, caller: Caller) -> Sequence[ModelState]:
        """Every model that the caller may call, by name; for operators those barred as well."""
        paces, figures = await self._current_paces(), self._figures()
        catalog = self._offer.catalog
        known = {*catalog.offers, *(catalog.barred if caller.is_operator else ())}
        names = [name for name in sorted(known) if may_call(caller, name)]
        states = [self._state(name, paces.get(name, _IDLE), figures) for name in names]
        return states if caller.is_operator else [_veiled(state) for state in states]

    async def _current_paces(self) -> Mapping[str, Pace]:
        now, read_at = self._clock.now(), self._paced_at
        if read_at is None or not read_at <= now < read_at + _REMEMBERED_SECONDS:
            self._paces = paces_of(await self._batches.unfinished(), self._progress)
            self._paced_at = now
        return self._paces

    def _state(
        self,
        name: str,
        pace: Pace,
        figures: Mapping[tuple[str, str], UpstreamFigures] | None,
    ) -> ModelState:
        endpoints = self._offer.catalog.offers.get(name, frozenset())
        tariff = self._offer.prices.tariff(name, at=self._clock.now(), window=_WINDOW)
        backing = self._offer.backings.get(name, _NOTHING)
        told = figures or {}
        return ModelState(
            name=name,
            endpoints=tuple(endpoint for endpoint in ENDPOINTS if endpoint in endpoints),
            price=price_tag(tariff),
            upstreams=tuple(
                _upstream(seat, told.get((name, seat.name), UNTOLD)) for seat in backing.seats
            ),
            builtin=backing.is_builtin,
            lines_per_second=None if figures is None else pace.lines_per_second,
            unfinished_lines=pace.lines_ahead,
            compute_regions=backing.compute_regions,
            is_served=name not in self._offer.catalog.barred,
        )


def _upstream(seat: Seat, figures: UpstreamFigures) -> UpstreamState:
    return UpstreamState(
        url=seat.address,
        weight=seat.weight,
        is_up=figures.is_up,
        in_flight=figures.in_flight,
        limit=figures.limit,
        faults=figures.faults,
        bound=figures.bound,
        region=seat.region,
        is_allowed=seat.is_allowed,
    )


def _veiled(state: ModelState) -> ModelState:
    numbered = enumerate(state.upstreams, start=1)
    upstreams = tuple(replace(one, url=f"upstream {number}") for number, one in numbered)
    return replace(state, upstreams=upstreams)
