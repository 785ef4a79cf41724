"""The way to an upstream: straight, or through a proxy, which has header fields of its own."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass

from batchmill.domain.errors import ConfigError
from batchmill.ports import Proxy
from batchmill.upstream.http_address import USER_AGENT


@dataclass(frozen=True, slots=True)
class Route:
    """``proxy`` is its URL. ``fields`` go with each request, ``tunnel_fields`` to the proxy alone.

    ``tunnel_fields`` is None where the proxy makes no tunnel.
    """

    proxy: str | None
    fields: Mapping[str, str]
    tunnel_fields: Mapping[str, str] | None


def find_route(proxy: Proxy | None, *, is_tunnel: bool) -> Route:
    """The route through ``proxy``; raises ConfigError for a login that is none.

    To a target over TLS it is a tunnel, of which the proxy sees the beginning
    alone. Otherwise the proxy reads every request.
    """
    if proxy is None:
        return Route(None, {}, None)
    login = {} if proxy.login is None else {"Proxy-Authorization": _basic(proxy.url, proxy.login)}
    if not is_tunnel:
        return Route(proxy.url, login, None)
    return Route(proxy.url, {}, {"User-Agent": USER_AGENT} | login)


def _basic(url: str, login: str) -> str:
    if ":" not in login:
        raise ConfigError(f"The user and password for the proxy {url} must have a : between them.")
    return f"Basic {b64encode(login.encode()).decode('ascii')}"
