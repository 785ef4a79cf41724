"""A batch under test: its input, what was known of it when a process was killed, its results.

``check`` holds the promises of ARCHITECTURE.md against the files, the batch
object and the upstream's own count of what it was sent.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2
from crash_ledger import check_ledger
from crash_server import MODEL, Server
from crash_upstream import Upstream
from crash_waiting import wait_until

from batchmill.domain.ids import line_id

CHAT = "/v1/chat/completions"
TERMINAL = frozenset({"completed", "failed", "expired", "cancelled"})
BAD_EVERY = 10

Json = dict[str, Any]


def custom_id(name: str, number: int) -> str:
    """What line ``number`` (from 1) calls itself."""
    return f"{name}-{number}"


def is_bad(number: int) -> bool:
    """Whether the upstream will refuse the line: both files have lines that way."""
    return number % BAD_EVERY == 0


def write_input(name: str, lines: int) -> bytes:
    """An input file whose every line asks for something else."""
    return b"".join(_write_line(name, number) for number in range(1, lines + 1))


def _write_line(name: str, number: int) -> bytes:
    said = {"role": "user", "content": f"{custom_id(name, number)} says hello"}
    messages = ["this is no message"] if is_bad(number) else [said]
    body = {"model": MODEL, "messages": messages}
    line = {"custom_id": custom_id(name, number), "method": "POST", "url": CHAT, "body": body}
    return json.dumps(line).encode() + b"\n"


@dataclass(frozen=True)
class Evidence:
    """What was durable at a time, and what the upstream had been sent by then.

    The journal is read before the upstream is asked: what was settled by then
    must never be sent again, however much later that is.
    """

    settled: frozenset[int]
    marked: frozenset[int]
    hits: dict[int, int]


@dataclass
class Trial:
    """One batch, and the evidence against which it is held at its end."""

    name: str
    lines: int
    server: Server
    upstream: Upstream
    id: str = ""
    window: str = "24h"
    evidence: list[Evidence] = field(default_factory=list)

    # --- making it ---

    def upload(self) -> str:
        """Upload the input; its id."""
        return upload(self.server.client, self.name, write_input(self.name, self.lines))

    def create(self, file_id: str) -> None:
        """Create the batch as a careful client does: again with the same key if need be."""
        body = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": self.window}
        try:
            answer = self._post(body)
        except httpx2.TransportError:
            self.server.wait_for_fault()
            revive(self.server)
            answer = self._post(body)
        assert answer.status_code == 200, answer.text
        self.id = answer.json()["id"]

    def _post(self, body: Json) -> httpx2.Response:
        key = {"Idempotency-Key": self.name}
        return self.server.client.post("/batches", json=body, headers=key)

    def submit(self) -> None:
        """Upload and create."""
        self.create(self.upload())

    # --- looking at it ---

    def get(self) -> Json:
        """The batch object."""
        return ask(self.server.client, f"/batches/{self.id}").json()  # type: ignore[no-any-return]

    def wait_for_end(self) -> Json:
        """The batch object, once nothing more will happen to it."""
        wait_until(lambda: self.get()["status"] in TERMINAL, f"{self.name} ended", pause=0.05)
        return self.get()

    def hits(self) -> dict[int, int]:
        """How often the upstream was sent each line, by its number."""
        sent = self.upstream.hits()
        keys = {number: line_id(self.id, number) for number in range(1, self.lines + 1)}
        return {number: sent[key] for number, key in keys.items() if key in sent}

    def gather_evidence(self) -> Evidence:
        """Note what is durable now."""
        settled, marked = read_journal(self.server, self.id)
        evidence = Evidence(settled, marked, self.hits())
        self.evidence.append(evidence)
        return evidence

    def sent_again(self) -> set[int]:
        """The lines that the upstream was sent more than once."""
        return {number for number, count in self.hits().items() if count > 1}

    # --- holding it against the promises ---

    def check(self) -> Json:
        """Everything that must hold of a batch that has ended; the batch object."""
        batch = self.wait_for_end()
        assert batch["status"] == "completed", batch
        good, bad = self._read("output_file_id", batch), self._read("error_file_id", batch)
        self._check_ids(good, bad)
        self._check_answers(good, bad)
        _check_sums(batch, good, bad)
        check_ledger(self.server.stores, batch, good)
        self._check_hits()
        return batch

    def _read(self, which: str, batch: Json) -> list[Json]:
        content = ask(self.server.client, f"/files/{batch[which]}/content").content
        assert content.endswith(b"\n")
        return self.parse(content)

    def parse(self, content: bytes) -> list[Json]:
        """The lines of a result file."""
        return [json.loads(line) for line in content.splitlines()]

    def _check_ids(self, good: list[Json], bad: list[Json]) -> None:
        """Every line is in one file, once, in the order of the input."""
        numbers = range(1, self.lines + 1)
        names = [
            [custom_id(self.name, n) for n in numbers if is_bad(n) == b] for b in (False, True)
        ]
        assert [line["custom_id"] for line in good] == names[0]
        assert [line["custom_id"] for line in bad] == names[1]

    def _check_answers(self, good: list[Json], bad: list[Json]) -> None:
        """Every line has its own answer."""
        for line in good:
            message = line["response"]["body"]["choices"][0]["message"]
            assert message["content"] == f"You said: {line['custom_id']} says hello"
        assert all(line["response"]["status_code"] == 400 for line in bad)
        ids = [line_id(self.id, number) for number in range(1, self.lines + 1)]
        assert sorted(ids) == sorted(line["id"] for line in good + bad)

    def _check_hits(self) -> None:
        """Nothing was left out, and nothing that was settled was ever sent again."""
        hits = self.hits()
        assert len(hits) == self.lines
        for evidence in self.evidence:
            again = {n for n in evidence.settled if hits[n] != evidence.hits[n]}
            assert not again, f"settled and yet sent again: {sorted(again)}"


def _check_sums(batch: Json, good: list[Json], bad: list[Json]) -> None:
    """The batch says what its files say."""
    counts = batch["request_counts"]
    assert counts == {
        "total": len(good) + len(bad),
        "completed": len(good),
        "failed": len(bad),
    }
    used: Counter[str] = Counter()
    for line in good:
        usage = line["response"]["body"]["usage"]
        used += Counter({"input": usage["prompt_tokens"], "output": usage["completion_tokens"]})
    assert batch["usage"]["input_tokens"] == used["input"] > 0
    assert batch["usage"]["output_tokens"] == used["output"] > 0
    assert batch["usage"]["total_tokens"] == used.total()


def read_journal(server: Server, batch_id: str) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of a batch's lines that are settled, and of those marked as sent."""
    found = server.stores.read_journal(batch_id)
    settled = frozenset(number for shard in found for number in shard.records)
    return settled, frozenset(number for shard in found for number in shard.sent)


def revive(server: Server) -> None:
    """Start the server again if nothing of it is left; else it heals by itself."""
    wait_until(lambda: server.is_gone() or server.is_whole(), "the server is dead or healed")
    if server.is_gone():
        server.start()


def upload(client: httpx2.Client, name: str, content: bytes) -> str:
    """Upload a file; its id."""
    answer = post_file(client, name, content)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def post_file(client: httpx2.Client, name: str, content: bytes) -> httpx2.Response:
    """The answer to an upload."""
    return client.post("/files", data={"purpose": "batch"}, files={"file": (name, content)})


def ask(client: httpx2.Client, path: str) -> httpx2.Response:
    """The answer to a GET, sent again where the API was killed under it."""
    while True:
        try:
            answer = client.get(path)
        except (httpx2.RemoteProtocolError, httpx2.ReadError, httpx2.WriteError):
            continue
        assert answer.status_code == 200, answer.text
        return answer


def read_all_files(client: httpx2.Client) -> dict[str, bytes]:
    """Every file that is listed, with its bytes: each must be there as a whole."""
    found: dict[str, bytes] = {}
    for file in ask(client, "/files").json()["data"]:
        content = ask(client, f"/files/{file['id']}/content").content
        assert len(content) == file["bytes"]
        found[file["filename"]] = content
    return found
