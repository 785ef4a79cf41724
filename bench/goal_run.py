"""The measuring for the table of the goals: every part once, and what each says of which goal."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import (
    crowd_of_batches,
    durability,
    efficiency,
    end_to_end,
    footprint,
    keepalive_race,
    one_core,
)
from bench.crowd_of_batches import Crowd, engine
from bench.durability import Durability
from bench.efficiency import Efficiency
from bench.end_to_end import Standing
from bench.footprint import Footprint
from bench.goals import Key
from bench.keepalive_race import Race
from bench.one_core import OneCore


@dataclass(frozen=True)
class Amount:
    """How much is measured for the goals."""

    rounds: int
    lines: int
    engine_lines: int
    small_lines: int
    turn_lines: int
    in_flight: int
    batches: int


DURABILITY_ROUNDS = 15

FULL = Amount(
    rounds=3,
    lines=50_000,
    engine_lines=10_000,
    small_lines=10_000,
    turn_lines=10_000,
    in_flight=5_000,
    batches=100,
)
QUICK = Amount(
    rounds=1,
    lines=5_000,
    engine_lines=2_560,
    small_lines=1_000,
    turn_lines=2_000,
    in_flight=1_000,
    batches=10,
)


@dataclass(frozen=True)
class Measured:
    """The figures of the goals, and the parts that have a table of their own."""

    figures: Mapping[Key, float]
    standings: Sequence[Standing]
    core: OneCore | None
    efficiencies: Sequence[Efficiency]
    footprint: Footprint
    durability: Durability
    race: Race
    crowd: Crowd
    crowd_on_engine: Crowd


def measure(folder: Path, amount: Amount) -> Measured:
    """Measure one part after the other, each below ``folder``."""
    rounds, lines = amount.rounds, amount.lines
    folder.mkdir(parents=True, exist_ok=True)
    # What CPU is given for changes from second to second where others use the machine.
    standings = end_to_end.measure(folder / "end-to-end", lines=lines, rounds=4 * rounds)
    figures = dict(_costs(standings))
    core = one_core.measure(folder / "one-core", lines=lines, rounds=rounds)
    if core is not None:
        figures[Key.ONE_CORE] = core.share
    engines = efficiency.measure(
        folder / "engine",
        lines=amount.engine_lines,
        in_flight=(efficiency.SLOTS, None),
        rounds=rounds,
    )
    figures[Key.CONFIGURED], figures[Key.UNCONFIGURED] = (one.share for one in engines)
    held = footprint.measure(
        folder / "footprint",
        small=amount.small_lines,
        large=lines,
        in_flight=amount.in_flight,
        rounds=rounds,
    )
    figures |= {Key.IN_FLIGHT: held.held, Key.GROWTH: held.growth}
    # A difference of two figures that lie close together: it takes more rounds than a ratio.
    durable = durability.measure(
        folder / "durability", lines=amount.turn_lines, rounds=DURABILITY_ROUNDS * rounds
    )
    figures[Key.DURABILITY] = durable.share
    race = keepalive_race.measure(folder / "race", lines=lines)
    figures |= {Key.RACE_FAILED: race.failed, Key.RACE_SPENT: race.spent}
    crowd, on_engine = (
        crowd_of_batches.measure(
            folder / place, serve, batches=amount.batches, lines=lines, rounds=rounds
        )
        for place, serve in (("crowd", end_to_end.upstream), ("crowd-engine", engine))
    )
    figures |= {Key.CROWD: crowd.share, Key.CROWD_ON_ENGINE: on_engine.share}
    return Measured(figures, standings, core, engines, held, durable, race, crowd, on_engine)


def _by_name(standings: Sequence[Standing]) -> Mapping[str, Standing]:
    return {one.name: one for one in standings}


def _costs(standings: Sequence[Standing]) -> Iterator[tuple[Key, float]]:
    """The ratios of CPU a line; none to a contender that did not run."""
    stood = _by_name(standings)
    pairs = (
        (Key.CPU, end_to_end.BATCHMILL, end_to_end.WRK),
        (Key.CPU_HTTPS, end_to_end.BATCHMILL_HTTPS, end_to_end.WRK_HTTPS),
        (Key.CPU_HTTPS_PLAIN, end_to_end.BATCHMILL_HTTPS, end_to_end.WRK),
        (Key.SCRIPT, end_to_end.BATCHMILL, end_to_end.SCRIPT),
        (Key.CLIENT, end_to_end.BATCHMILL, end_to_end.CLIENT),
    )
    for key, ours, theirs in pairs:
        if theirs in stood:
            yield key, stood[ours].share_of(stood[theirs])
