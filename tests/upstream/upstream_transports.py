"""Both transports, for every test of a module: ``pytestmark = [..., on_both_transports]``."""

from collections.abc import Callable

import pytest

from batchmill.upstream.aiohttp_transport import AiohttpTransport
from batchmill.upstream.http import HttpTransport

Make = Callable[..., HttpTransport | AiohttpTransport]

on_both_transports = pytest.mark.parametrize(
    "make", [HttpTransport, AiohttpTransport], ids=["httptools", "aiohttp"]
)
