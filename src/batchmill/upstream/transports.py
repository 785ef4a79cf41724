"""Which of the transports reaches a target: our own, or aiohttp's where the target asks for it."""

from importlib.util import find_spec

from batchmill.domain.errors import ConfigError
from batchmill.ports import AskingTransport, Target, Transport
from batchmill.upstream.awaited import AwaitedTransport
from batchmill.upstream.http import HttpTransport


def open_transport(target: Target) -> Transport:
    """The transport for the lines that go to ``target``; raises ConfigError."""
    return AwaitedTransport(_aiohttp(target)) if target.with_aiohttp else _own(target)


def open_asking(target: Target) -> AskingTransport:
    """The transport for whoever waits for each answer; raises ConfigError."""
    return _aiohttp(target) if target.with_aiohttp else _own(target)


def check_installed(target: Target) -> None:
    """Return if there is what ``target`` asks for; raises ConfigError."""
    if target.with_aiohttp and find_spec("aiohttp") is None:
        raise ConfigError(
            f'The transport of the upstream {target.url} is "aiohttp", which is not installed: '
            'pip install "batchmill[aiohttp]".'
        )


def _own(target: Target) -> HttpTransport:
    if target.proxy is not None:
        # The settings are checked for that, but no prompt may go straight by a mistake of ours.
        raise ConfigError(
            f'The upstream {target.url} has a proxy: set its transport to "aiohttp", which can.'
        )
    return HttpTransport(target)


def _aiohttp(target: Target) -> AskingTransport:
    check_installed(target)
    # Imported here: it costs every process that loads it megabytes.
    from batchmill.upstream.aiohttp_transport import AiohttpTransport

    return AiohttpTransport(target)
