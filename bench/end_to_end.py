"""A file of small requests from upload to download, against what people write and against wrk.

One upstream for all, and one that speaks HTTPS; the contenders take turns, and the medians of the
rounds count, for a ratio that of the rounds' ratios. CPU a line is that of the side that sends: all
of batchmill's processes, API and disk included, against the scripts' and wrk's.
"""

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import inputs
from bench.processes import cpu_seconds, python, run_to_end, running
from bench.server import Batchmill, Model, batchmill

SLOTS = 256
LINE_BYTES = 600
MODEL = "bench"
SECURED = "bench-https"
WRK_SECONDS = 4
# The official client takes milliseconds of CPU a line: so it is given fewer.
CLIENT_PART = 25

BATCHMILL = "batchmill, upload to download"
BATCHMILL_HTTPS = "the same to an upstream over HTTPS"
SCRIPT = "aiohttp and a semaphore"
CLIENT = "the official client and a semaphore"
TRANSPORT = "batchmill's transport alone"
WRK = "wrk"
WRK_HTTPS = "wrk over HTTPS"


@dataclass(frozen=True)
class Work:
    """What a contender did once: seconds and its own CPU seconds for ``lines`` lines."""

    lines: int
    seconds: float
    cpu: float


@dataclass(frozen=True)
class Standing:
    """A contender's medians, and its microseconds of CPU a line in each round."""

    name: str
    rounds: Sequence[float]
    lines_per_second: float
    upstream_cpu_us: float

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU a line."""
        return median(self.rounds)

    def share_of(self, other: "Standing") -> float:
        """Its CPU a line as a part of the other's: what a round has, both of them had."""
        return median(ours / theirs for ours, theirs in zip(self.rounds, other.rounds, strict=True))


@dataclass(frozen=True)
class Upstream:
    """A started upstream that answers at once. ``ca`` vouches for it where it speaks HTTPS."""

    pid: int
    url: str
    ca: Path | None = None


def measure(folder: Path, *, lines: int, rounds: int) -> list[Standing]:
    """Every contender's medians."""
    folder.mkdir(parents=True, exist_ok=True)
    source, secured = folder / "requests.jsonl", folder / "secured.jsonl"
    few = folder / "few.jsonl"
    inputs.write_requests(source, lines=lines, line_bytes=LINE_BYTES, model=MODEL)
    inputs.write_requests(secured, lines=lines, line_bytes=LINE_BYTES, model=SECURED)
    inputs.write_requests(few, lines=lines // CLIENT_PART, line_bytes=LINE_BYTES, model=MODEL)
    with ExitStack() as stack:
        plain = stack.enter_context(upstream(folder))
        https = stack.enter_context(secured_upstream(folder))
        models = {MODEL: Model(plain.url, SLOTS), SECURED: Model(https.url, SLOTS, https.ca)}
        server = stack.enter_context(batchmill(folder / "server", models))
        contenders: dict[str, Callable[[], Work]] = {
            BATCHMILL: lambda: run_batchmill(server, source, lines),
            BATCHMILL_HTTPS: lambda: run_batchmill(server, secured, lines),
            SCRIPT: lambda: run_program("bench.aiohttp_script", source, plain.url, lines),
            CLIENT: lambda: run_program(
                "bench.client_script", few, plain.url, lines // CLIENT_PART
            ),
            TRANSPORT: lambda: _run_transport(source, plain.url, lines),
        }
        if shutil.which("wrk"):
            contenders[WRK] = lambda: run_wrk(source, plain.url, folder)
            contenders[WRK_HTTPS] = lambda: run_wrk(secured, https.url, folder)
        return _take_turns(contenders, (plain.pid, https.pid), rounds)


@contextmanager
def upstream(folder: Path) -> Iterator[Upstream]:
    """The upstream of fixed answers."""
    with running(python("-m", "bench.upstream"), folder / "upstream.log") as (pid, port):
        yield Upstream(pid, f"http://127.0.0.1:{port}/v1")


@contextmanager
def secured_upstream(folder: Path) -> Iterator[Upstream]:
    """The same over HTTPS, with a certificate of an authority that is thrown away."""
    # Imported here: the tests' authority, see bench/run.
    from certificates import Authority

    place = folder / "tls"
    place.mkdir()
    authority = Authority(place)
    pair = authority.sign()
    command = python("-m", "bench.upstream", "--certificate", str(pair.certificate))
    with running([*command, "--key", str(pair.key)], folder / "secured.log") as (pid, port):
        yield Upstream(pid, f"https://127.0.0.1:{port}/v1", authority.path)


def _take_turns(
    contenders: dict[str, Callable[[], Work]], upstreams: tuple[int, ...], rounds: int
) -> list[Standing]:
    runs: dict[str, list[tuple[Work, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contend in contenders.items():
            before = cpu_seconds(upstreams)
            work = contend()
            runs[name].append((work, cpu_seconds(upstreams) - before))
    return [_stand(name, of_one) for name, of_one in runs.items()]


def _stand(name: str, runs: list[tuple[Work, float]]) -> Standing:
    return Standing(
        name,
        rounds=[work.cpu / work.lines * 1e6 for work, _ in runs],
        lines_per_second=median(work.lines / work.seconds for work, _ in runs),
        upstream_cpu_us=median(cpu / work.lines for work, cpu in runs) * 1e6,
    )


def run_batchmill(server: Batchmill, source: Path, lines: int) -> Work:
    """Upload ``source``, let it run, download what came of it; raises where a line failed."""
    pids = server.pids()
    began, began_cpu = time.perf_counter(), cpu_seconds(pids)
    file_id = server.upload(source)
    batch = server.wait_for(server.create(file_id))
    server.download(batch["output_file_id"])
    seconds, cpu = time.perf_counter() - began, cpu_seconds(pids) - began_cpu
    if batch["request_counts"]["completed"] != lines:
        raise RuntimeError(f"{batch['request_counts']} of {lines} lines")
    return Work(lines, seconds, cpu)


def run_program(module: str, source: Path, url: str, lines: int) -> Work:
    """Let a script of the bench answer ``source``; it tells its seconds and CPU seconds."""
    target = source.with_name("answers.jsonl")
    told, _ = run_to_end(python("-m", module, str(source), str(target), url, str(SLOTS)))
    seconds, cpu = map(float, told.split())
    return Work(lines, seconds, cpu)


def _run_transport(source: Path, url: str, lines: int) -> Work:
    told, _ = run_to_end(python("-m", "bench.transport_alone", str(source), url, str(SLOTS)))
    seconds, cpu = map(float, told.split())
    return Work(lines, seconds, cpu)


def run_wrk(source: Path, url: str, folder: Path) -> Work:
    """Let wrk send the first body of ``source`` for a few seconds; raises where one failed."""
    script = folder / "post.lua"
    body = inputs.first_body(source)
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [==[{body}]==]\n"
    )
    options = ("-t1", f"-c{SLOTS}", f"-d{WRK_SECONDS}", "-s", str(script))
    told, cpu = run_to_end(["wrk", *options, f"{url}/chat/completions"])
    found = re.search(r"(\d+) requests in ([\d.]+)s", told)
    if found is None or "Non-2xx" in told:
        raise RuntimeError(f"wrk said: {told}")
    return Work(int(found[1]), float(found[2]), cpu)
