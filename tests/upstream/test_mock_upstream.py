"""The scripted upstream over the wire: every fault, the gate, the counts, the official client."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import openai
import pytest
from upstream_loops import Run, on_both_loops

from batchmill.ports import FaultKind, Reply, Target, TransportFault
from batchmill.upstream.http import HttpTransport
from batchmill.upstream.mock import Fault, MockUpstream, Script, serve_mock
from batchmill.upstream.mock.answers import count_tokens

pytestmark = on_both_loops

CHAT = "/chat/completions"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'


@asynccontextmanager
async def started(
    script: Script | None = None,
) -> AsyncIterator[tuple[MockUpstream, HttpTransport]]:
    """A scripted upstream and a transport to it."""
    mock = MockUpstream(script)
    transport = HttpTransport(Target(await mock.start(), api_key="sk-1"))
    try:
        yield mock, transport
    finally:
        await transport.close()
        await mock.stop()


def decode(reply: Reply) -> Any:
    return msgspec.json.decode(reply.body)


def test_every_endpoint_satisfies_the_official_client(run: Run) -> None:
    async def main() -> None:
        async with started(Script(models=("m",), require_key="sk-1")) as (mock, _):
            client = openai.AsyncOpenAI(
                base_url=mock.url, api_key="sk-1", max_retries=0, _strict_response_validation=True
            )
            chat = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": "hello"}]
            )
            assert chat.choices[0].message.content == "You said: hello"
            assert chat.usage is not None
            assert chat.usage.total_tokens == chat.usage.prompt_tokens + 4
            text = await client.completions.create(model="m", prompt=["a", "b"])
            assert text.choices[0].text == "You said: a b"
            response = await client.responses.create(model="m", input="hi")
            assert response.output_text == "You said: hi"
            assert response.usage is not None
            assert response.usage.input_tokens_details.cache_write_tokens == 0
            judged = await client.moderations.create(model="m", input=["a", "b"])
            assert [result.flagged for result in judged.results] == [False, False]
            assert [model.id async for model in client.models.list()] == ["m"]
            await client.close()

    run(main())


def test_embeddings_come_as_numbers_or_packed_and_say_the_same(run: Run) -> None:
    async def main() -> None:
        async with started() as (mock, transport):
            client = openai.AsyncOpenAI(base_url=mock.url, api_key="k", max_retries=0)
            packed = await client.embeddings.create(model="m", input=["a", "b"], dimensions=70)
            plain = await client.embeddings.create(
                model="m", input=["a", "b"], dimensions=70, encoding_format="float"
            )
            await client.close()
            assert [len(item.embedding) for item in plain.data] == [70, 70]
            for one, other in zip(packed.data, plain.data, strict=True):
                assert one.embedding == pytest.approx(other.embedding)
            for given, vectors in (('"a"', 1), ("[1,2,3]", 1), ("[[1],[2]]", 2)):
                body = f'{{"model":"m","input":{given}}}'.encode()
                reply = await transport.send("/embeddings", body, "k")
                assert len(decode(reply)["data"]) == vectors

    run(main())


def test_rerank_and_score_compare_words(run: Run) -> None:
    async def main() -> None:
        async with started() as (_, transport):
            body = b'{"model":"m","query":"red fox","documents":["blue sea","a red fox"]}'
            ranked = decode(await transport.send("/rerank", body, "k"))["results"]
            assert [found["index"] for found in ranked] == [1, 0]
            body = b'{"model":"m","text_1":"red fox","text_2":["red fox","sea"]}'
            scored = decode(await transport.send("/score", body, "k"))
            assert [item["score"] for item in scored["data"]] == [1.0, 0.0]

    run(main())


def test_token_counts_follow_from_the_bytes_of_the_request(run: Run) -> None:
    async def main() -> None:
        async with started() as (_, transport):
            first, second = [decode(await transport.send(CHAT, BODY, "k")) for _ in range(2)]
            assert first["usage"] == second["usage"]
            assert first["usage"]["prompt_tokens"] == count_tokens(BODY) == -(-len(BODY) // 4)
            assert first["id"] == second["id"]

    run(main())


def test_the_last_thing_that_the_user_said_is_echoed(run: Run) -> None:
    async def main() -> None:
        turns: list[tuple[list[dict[str, Any]], str]] = [
            ([], "You said nothing."),
            ([{"role": "system", "content": "s"}], "You said nothing."),
            (
                [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                "You said: a",
            ),
            (
                [{"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image"}]}],
                "You said: x",
            ),
            ([{"role": "user", "content": "é" * 300}], "You said: " + "é" * 200),
        ]
        async with started() as (_, transport):
            for messages, text in turns:
                body = msgspec.json.encode({"model": "m", "messages": messages})
                answer = decode(await transport.send(CHAT, body, "k"))
                assert answer["choices"][0]["message"]["content"] == text

    run(main())


@pytest.mark.parametrize(
    ("body", "path", "status"),
    [
        (b'{"model":"m","messages":[],"stream":true}', CHAT, 400),
        (b'{"model":"m","messages":[],"stream":false}', CHAT, 200),
        (b'{"model":"m"', CHAT, 400),
        (b'{"model":"m","messages":7}', CHAT, 400),
        (b'{"model":"m\xff","messages":[]}', CHAT, 400),
        (b'{"model":"m"}', CHAT, 400),
        (b'{"messages":[]}', CHAT, 400),
        (b'{"model":"other","messages":[]}', CHAT, 404),
        (b'{"model":"m","messages":[]}', "/nothing", 404),
        (b"{}", "/models", 405),
    ],
)
def test_what_a_server_refuses_is_refused(run: Run, body: bytes, path: str, status: int) -> None:
    async def main() -> None:
        async with started(Script(models=("m",))) as (_, transport):
            reply = await transport.send(path, body, "k")
            assert reply.status == status
            assert status == 200 or decode(reply)["error"]["message"]

    run(main())


def test_a_wrong_key_is_refused(run: Run) -> None:
    async def main() -> None:
        async with started(Script(require_key="sk-2")) as (mock, transport):
            assert (await transport.send(CHAT, BODY, "k")).status == 401
            assert (await transport.get("/models")).status == 401
            mock.script = Script(require_key="sk-1")
            assert (await transport.send(CHAT, BODY, "k")).status == 200

    run(main())


@pytest.mark.parametrize(
    ("models", "listed"), [((), ["mock"]), (("a", "b"), ["a", "b"])], ids=["any", "named"]
)
def test_its_models_are_listed_and_one_where_it_takes_any(
    run: Run, models: tuple[str, ...], listed: list[str]
) -> None:
    async def main() -> None:
        async with started(Script(models=models)) as (_, transport):
            found = decode(await transport.get("/models"))
            assert [one["id"] for one in found["data"]] == listed

    run(main())


def test_faults_with_an_answer(run: Run) -> None:
    async def main() -> None:
        async with started() as (mock, transport):
            mock.script = Script(rate_429=1, retry_after=2.5)
            assert (await transport.send(CHAT, BODY, "k")).status == 429
            assert (await transport.send(CHAT, BODY, "k")).retry_after == 2.5
            mock.script = Script(rate_429=1, retry_after=None)
            assert (await transport.send(CHAT, BODY, "k")).retry_after is None
            mock.script = Script(rate_5xx=1, status_5xx=529)
            assert (await transport.send(CHAT, BODY, "k")).status == 529
            mock.script = Script(rate_error_body=1)
            reply = await transport.send(CHAT, BODY, "k")
            assert reply.status == 200
            assert "error" in decode(reply)
            mock.script = Script(rate_oversized=1, oversized_bytes=1_000_000)
            reply = await transport.send(CHAT, BODY, "k")
            assert (reply.status, len(reply.body)) == (200, 1_000_000)
            assert isinstance(decode(reply), str)

    run(main())


@pytest.mark.parametrize("fault", ["not_json", "cut_json", "bad_utf8"])
def test_bodies_that_are_no_json(run: Run, fault: str) -> None:
    async def main() -> None:
        async with started(Script(**{f"rate_{fault}": 1.0})) as (_, transport):  # type: ignore[arg-type]
            reply = await transport.send(CHAT, BODY, "k")
            assert reply.status == 200
            with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
                msgspec.json.decode(reply.body.decode())

    run(main())


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.CUT])
def test_faults_without_an_answer(run: Run, fault: Fault) -> None:
    async def main() -> None:
        script = Script(fail_first=2, fail_with=fault)
        async with started(script) as (mock, transport):
            for _ in range(2):
                with pytest.raises(TransportFault) as caught:
                    await transport.send(CHAT, BODY, "k")
                assert caught.value.kind == FaultKind.RESET
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            assert mock.hits == {"k": 3}
            assert mock.stats.faults == {fault: 2}
            assert mock.stats.in_flight == 0

    run(main())


def test_each_line_fails_its_first_hits_whatever_the_others_do(run: Run) -> None:
    async def main() -> None:
        async with started(Script(fail_first=1)) as (_, transport):
            statuses = [
                (await transport.send(CHAT, BODY, key)).status for key in ("a", "b", "a", "b")
            ]
            assert statuses == [503, 503, 200, 200]

    run(main())


def test_slots_queue_and_overflow(run: Run) -> None:
    async def main() -> None:
        async with started(Script(slots=2, queue=1, retry_after=4.0)) as (mock, transport):
            mock.hold()
            sendings = [asyncio.ensure_future(transport.send(CHAT, BODY, key)) for key in "abc"]
            await mock.wait_for_hits(3)
            overflow = await transport.send(CHAT, BODY, "d")
            assert (overflow.status, overflow.retry_after) == (429, 4.0)
            await mock.wait_until(lambda stats: stats.held == 2)
            mock.release()
            assert [(await sending).status for sending in sendings] == [200, 200, 200]
            assert (mock.stats.max_in_flight, mock.stats.in_flight) == (4, 0)

    run(main())


def test_a_long_queue_without_latency_drains(run: Run) -> None:
    async def main() -> None:
        async with started(Script(slots=1)) as (mock, transport):
            mock.hold()
            sendings = [asyncio.ensure_future(transport.send(CHAT, BODY, "k")) for _ in range(600)]
            await mock.wait_for_hits(600)
            mock.release()
            assert {reply.status for reply in await asyncio.gather(*sendings)} == {200}

    run(main())


def test_one_who_goes_away_frees_the_slot(run: Run) -> None:
    async def main() -> None:
        async with started(Script(slots=1, latency=3600.0)) as (mock, transport):
            gone = asyncio.ensure_future(transport.send(CHAT, BODY, "a"))
            await mock.wait_for_hits(1)
            next_one = asyncio.ensure_future(transport.send(CHAT, BODY, "b"))
            await mock.wait_for_hits(2)
            mock.script = Script(slots=1)
            gone.cancel()
            await mock.wait_until(lambda stats: stats.aborted == 1)
            next_one.cancel()
            await mock.wait_until(lambda stats: stats.in_flight == 0)
            assert (await transport.send(CHAT, BODY, "c")).status == 200

    run(main())


def test_one_who_goes_away_leaves_the_gate(run: Run) -> None:
    async def main() -> None:
        async with started() as (mock, transport):
            mock.hold()
            mock.hold()
            gone = asyncio.ensure_future(transport.send(CHAT, BODY, "a"))
            await mock.wait_until(lambda stats: stats.held == 1)
            gone.cancel()
            await mock.wait_until(lambda stats: stats.aborted == 1)
            assert mock.stats.held == 0
            mock.release()
            assert mock.stats.answered == 0

    run(main())


def test_latency_is_taken_before_the_answer(run: Run) -> None:
    async def main() -> None:
        async with started(Script(latency=3600.0)) as (mock, transport):
            slow = asyncio.ensure_future(transport.send(CHAT, BODY, "k"))
            await mock.wait_for_hits(1)
            mock.script = Script(latency=0.001)
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            assert not slow.done()
            slow.cancel()
            await mock.wait_until(lambda stats: stats.aborted == 1)

    run(main())


def test_the_counts_are_shown_and_reset(run: Run) -> None:
    async def main() -> None:
        async with started() as (mock, _):
            root = HttpTransport(Target(mock.url.removesuffix("/v1")))
            for key in ("a", "a", "b"):
                await root.send("/v1/chat/completions", BODY, key)
            seen = decode(await root.get("/stats"))
            assert seen["hits_by_key"] == {"a": 2, "b": 1}
            assert list(seen["hits_by_body"].values()) == [3]
            assert seen["statuses"] == {"200": 3}
            assert (seen["requests"], seen["max_in_flight"], seen["in_flight"]) == (3, 1, 0)
            assert "hits_by_key" not in decode(await root.get("/stats?lines=false"))
            assert (await root.send("/reset", b"", "k")).status == 200
            assert decode(await root.get("/stats"))["requests"] == 0
            assert mock.hits == {}
            assert (await root.get("/health")).status == 200
            await root.close()

    run(main())


def test_lines_may_go_uncounted(run: Run) -> None:
    async def main() -> None:
        async with started(Script(count_lines=False)) as (mock, transport):
            await transport.send(CHAT, BODY, "k")
            assert (mock.hits, mock.stats.hits_by_body, mock.stats.requests) == ({}, {}, 1)

    run(main())


def test_requests_sent_ahead_are_answered_in_their_order(run: Run) -> None:
    async def main() -> None:
        async with started(Script(latency=0.001)) as (mock, _):
            host, port = mock.url.removeprefix("http://").removesuffix("/v1").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            for said in range(50):
                body = BODY.replace(b"hello", b"turn %02d." % said)
                writer.write(b"POST /v1/chat/completions HTTP/1.1\r\n")
                writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
            for said in range(50):
                await reader.readuntil(b"You said: turn %02d." % said)
            writer.close()
            await writer.wait_closed()

    run(main())


def test_what_is_no_http_gets_a_400(run: Run) -> None:
    async def main() -> None:
        async with started() as (mock, _):
            host, port = mock.url.removeprefix("http://").removesuffix("/v1").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"EHLO there\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()
            await writer.wait_closed()

    run(main())


def test_it_can_be_stopped_and_started_again(run: Run) -> None:
    async def main() -> None:
        mock = MockUpstream()
        with pytest.raises(RuntimeError):
            _ = mock.url
        await mock.stop()
        for _ in range(2):
            url = await mock.start()
            transport = HttpTransport(Target(url))
            assert (await transport.send(CHAT, BODY, "k")).status == 200
            await mock.stop()
            await transport.close()

    run(main())


def test_a_wait_that_is_given_up_disturbs_nothing(run: Run) -> None:
    async def main() -> None:
        async with started() as (mock, transport):
            waiting = asyncio.ensure_future(mock.wait_for_hits(9))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert (await transport.send(CHAT, BODY, "k")).status == 200

    run(main())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_says_its_url_and_ends_on_a_signal(
    run: Run, capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(os.kill, os.getpid(), number)
        await serve_mock(Script(), "127.0.0.1", 0)

    run(main())
    assert capsys.readouterr().out.startswith("http://127.0.0.1:")
