"""Whatever talks to an upstream goes the way that its settings say."""

import asyncio
from collections.abc import Callable

import pytest
from forward_proxy import ForwardProxy, proxying
from pydantic import SecretStr

from batchmill.config import ModelSettings, Settings, TransportKind, UpstreamSettings
from batchmill.domain.errors import ConfigError
from batchmill.ports import Outcome, Proxy, Reply, Target
from batchmill.upstream.http import fetch_models
from batchmill.upstream.mock import MockUpstream, Script
from batchmill.upstream.tokenizer import Tokenizer
from batchmill.upstream.transports import open_asking, open_transport
from batchmill.wiring.upstreams import UpstreamCounter, make_target

LOGIN = "carol:hush"
BODY = b'{"model":"m","messages":[{"role":"user","content":"one two"}]}'


def test_a_target_knows_its_proxy() -> None:
    way = UpstreamSettings(
        url="http://x", transport=TransportKind.AIOHTTP, proxy="http://proxy:3128"
    )
    target = make_target(way)
    assert (target.with_aiohttp, target.proxy) == (True, Proxy("http://proxy:3128"))
    login = way.model_copy(update={"proxy_auth": SecretStr(LOGIN)})
    assert make_target(login).proxy == Proxy("http://proxy:3128", LOGIN)
    plain = make_target(UpstreamSettings(url="http://x"))
    assert (plain.with_aiohttp, plain.proxy) == (False, None)


def test_lines_models_and_token_counts_go_through_the_proxy() -> None:
    async def main() -> None:
        mock = MockUpstream(Script(models=("m",)))
        url = await mock.start()
        async with proxying(ForwardProxy()) as proxy:
            upstream = UpstreamSettings(url=url, transport=TransportKind.AIOHTTP, proxy=proxy.url)
            settings = Settings(models=(ModelSettings(name="m", upstreams=(upstream,)),))
            target = make_target(upstream)
            assert await fetch_models(target, open_asking) == ["m"]
            count = UpstreamCounter(settings.models, Tokenizer(lambda: 0.0))
            assert await count("m", [BODY]) == [2]
            transport = open_transport(target)
            ended: asyncio.Queue[Outcome] = asyncio.Queue()
            transport.post("/chat/completions", BODY, "k", None, ended.put_nowait)
            assert isinstance(await ended.get(), Reply)
            await transport.close()
            asked = [head.split(b" ", 2)[1].rpartition(b"/")[2] for head in proxy.heads]
        assert {b"models", b"tokenize", b"completions"} <= set(asked)
        assert mock.stats.connections == proxy.connections
        await mock.stop()

    asyncio.run(main())


@pytest.mark.parametrize("opening", [open_transport, open_asking])
def test_a_transport_that_knows_no_proxy_never_goes_around_it(
    opening: Callable[[Target], object],
) -> None:
    target = Target("http://127.0.0.1:9/v1", proxy=Proxy("http://127.0.0.1:9", None))
    with pytest.raises(ConfigError, match='set its transport to "aiohttp"'):
        opening(target)
