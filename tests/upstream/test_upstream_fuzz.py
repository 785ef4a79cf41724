"""Chance against the transport, for a minute: its reader of answers, then the whole of it.

Every round has a seed, and the same seeds come in each run: how far they get is a matter of
the machine. A failure tells its seed. ``BATCHMILL_FUZZ_SEED`` begins elsewhere and
``BATCHMILL_FUZZ_SECONDS`` fuzzes longer: each test has a share of those seconds.
"""

import asyncio
import itertools
import os
import re
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest
import uvloop
from adversary import ACTS, Adversary, Step
from canned_answers import CAP
from certificates import Authority
from generated_answers import cut, make_answer, make_spoilt, read_by_the_book
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from raw_upstream import RawUpstream, listen
from read_answers import feed_all, kind_of
from upstream_loops import run_on

from batchmill.ports import FaultKind, Outcome, Reply, Target, TransportFault
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.http_answer import AnswerReader
from batchmill.upstream.http_fields import Oversized, Unreadable, unpack

pytestmark = pytest.mark.slow

FIRST_SEED = int(os.environ.get("BATCHMILL_FUZZ_SEED", "0"))
SECONDS = float(os.environ.get("BATCHMILL_FUZZ_SECONDS", "60"))
TESTS = 6
BLANK = b"\r\n"


def for_a_while(check: Callable[[int], None]) -> int:
    """Check seed after seed until the time is over; how many there were."""
    end = time.monotonic() + SECONDS / TESTS
    for number in itertools.count(FIRST_SEED):
        try:
            check(number)
        except BaseException as failure:
            failure.add_note(f"The seed was {number}.")
            raise
        if time.monotonic() > end:
            return number - FIRST_SEED + 1
    raise AssertionError


# --- The reader. ---


def read(pieces: Sequence[bytes]) -> tuple[Reply | None, FaultKind | None, bool]:
    """What a reader makes of the pieces and the end behind them."""
    reader = AnswerReader(CAP, lambda: 0.0)
    outcome, fed = feed_all(reader, pieces)
    if outcome is None:
        outcome = kind_of(reader.end())
    # Blank lines between answers are allowed, so nobody minds them behind one either.
    is_reusable = reader.is_reusable and not b"".join(pieces[fed:]).strip(BLANK)
    if isinstance(outcome, FaultKind):
        return None, outcome, is_reusable
    return outcome, None, is_reusable


def test_whatever_is_written_rightly_is_read() -> None:
    def check(number: int) -> None:
        chance = Random(number)
        made = make_answer(chance)
        reply, fault, is_reusable = read(cut(chance, made.data))
        assert fault is None
        assert reply is not None
        assert Reply(reply.status, reply.body) == made.outcome
        assert is_reusable != made.ends
        book = read_by_the_book(made.data)
        assert book is not None
        assert book.status == reply.status
        assert unpack(book.body, book.packing, CAP) == reply.body

    assert for_a_while(check) > 1_000


def test_whatever_is_written_wrongly_is_a_fault_or_what_others_make_of_it() -> None:
    """Another reader of the same bytes sees the same answer, which ends where it ends here."""
    outcomes: Counter[str] = Counter()

    def check(number: int) -> None:
        chance = Random(number)
        data = make_spoilt(chance)
        reply, fault, is_reusable = read([data])
        assert read(cut(chance, data)) == (reply, fault, is_reusable), "cut in pieces"
        outcomes[fault or ("reply" if reply else "nothing")] += 1
        book = read_by_the_book(data.lstrip(BLANK))
        if reply is None or book is None:
            return
        assert reply.status == book.status
        try:
            assert reply.body == unpack(book.body, book.packing, CAP)
        except (Unreadable, Oversized):
            pytest.fail("The body could not be unpacked.")
        if is_reusable:
            assert not data.lstrip(BLANK)[book.size :].strip(BLANK)

    assert for_a_while(check) > 1_000
    assert set(outcomes) == {"reply", "nothing", FaultKind.GARBLED, FaultKind.TOO_LARGE}


# --- The whole transport. ---

TOKEN = re.compile(rb"<\d+:[0-9a-f]{16}>")
WIDTH = 8

steps = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(["answer", *ACTS]),
        seed=st.integers(0, 2**32),
        size=st.sampled_from([0, 0, 100, 3_000, 20_000, 300_000]),
        turns=st.one_of(st.none(), st.none(), st.integers(0, 40)),
    ),
    min_size=1,
    max_size=24,
)


def body_of(number: int, step: Step) -> bytes:
    token = b"<%d:%016x>" % (number, step.seed)
    return token * (1 + step.size // len(token))


async def carry(transport: HttpTransport, number: int, step: Step, body: bytes) -> Outcome | None:
    """The end of one request, or None if it was called off before."""
    outcomes: list[Outcome] = []
    ended = asyncio.Event()

    def end(outcome: Outcome) -> None:
        outcomes.append(outcome)
        ended.set()

    exchange = transport.post("/x", body, str(number), None, end)
    assert not outcomes, "told before it was handed on"
    if step.turns is None:
        await ended.wait()
    else:
        for _ in range(step.turns):
            await asyncio.sleep(0)
        exchange.cancel()
    told = len(outcomes)
    for _ in range(3):
        await asyncio.sleep(0)
    assert len(outcomes) == told <= 1, "told again, or after it was called off"
    return outcomes[0] if outcomes else None


async def play(
    plan: Sequence[Step], tls: ssl.SSLContext | None, target: Callable[[RawUpstream], Target]
) -> Counter[str]:
    """Carry out the plan; what became of its requests."""
    numbered = dict(enumerate(plan))
    bodies = {number: body_of(number, step) for number, step in numbered.items()}
    adversary = Adversary(numbered, bodies)
    outcomes: Counter[str] = Counter()
    async with listen(adversary.play, tls=tls) as upstream:
        transport = HttpTransport(target(upstream))
        waiting = iter(numbered.items())

        async def send_on() -> None:
            for number, step in waiting:
                outcome = await carry(transport, number, step, bodies[number])
                adversary.over[number].set()
                outcomes[judge(outcome, number, step, bodies[number], adversary)] += 1

        await asyncio.gather(*(send_on() for _ in range(WIDTH)))
        await transport.close()
        assert not transport._pool._all
        assert not transport._pool._idle
        assert not transport._pool._dialing
        await upstream.wait_until_left()
    return outcomes


def judge(
    outcome: Outcome | None, number: int, step: Step, body: bytes, adversary: Adversary
) -> str:
    """What became of a request, which is nothing that must not happen."""
    if outcome is None:
        assert step.turns is not None
        return "called off"
    if isinstance(outcome, TransportFault):
        return outcome.kind
    assert isinstance(outcome, Reply)
    if step.act == "spoil":
        own = body[: body.index(b">") + 1]
        assert not {token for token in TOKEN.findall(outcome.body) if token != own} - {own}
    else:
        assert Reply(outcome.status, outcome.body) == adversary.right[number]
    return "reply"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize(
    "loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_no_server_makes_answers_cross_or_leaves_a_connection(
    loop: Callable[[], asyncio.AbstractEventLoop], authority: Authority, *, is_tls: bool
) -> None:
    tls = authority.sign().serve() if is_tls else None
    outcomes: Counter[str] = Counter()

    def target(upstream: RawUpstream) -> Target:
        scheme = "https" if is_tls else "http"
        return Target(
            f"{scheme}://127.0.0.1:{upstream.port}",
            ca=authority.path if is_tls else None,
            request_timeout=0.1,
        )

    def check(number: int) -> None:
        @seed(number)
        @settings(
            max_examples=10,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        @given(steps)
        def carry_out(plan: Sequence[Step]) -> None:
            async def main() -> None:
                outcomes.update(await play(plan, tls, target))

            try:
                run_on(loop, main())
            except BaseException as failure:
                failure.add_note(f"The plan was {plan}.")
                raise

        carry_out()
        files.append(open_files())
        # Whatever the first one opened for good is there.
        assert files[-1] <= files[0]

    files: list[int] = []
    for_a_while(check)
    assert {"reply", "reset", "called off", "timeout", "garbled"} <= set(outcomes)
    assert outcomes["reply"] > outcomes.total() / 10


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())
