"""Receivers in the world outside: which URLs and which addresses may be asked. Pure.

Whoever names a receiver must not thereby reach what only this machine reaches:
a name is looked up by the sender, which connects to nothing but addresses that
``is_public`` has seen.
"""

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

Address = IPv4Address | IPv6Address

MAX_URL_CHARS = 2048
DEFAULT_PORTS = {"http": 80, "https": 443}

# IPv6 addresses that hold one of IPv4, which a gateway on the way would ask: by the networks
# that mark them, with how many bits stand right of it.
_CARRIERS = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
# What else is no host of the public net, whatever a version of Python thinks of it: addresses
# for documentation and benchmarks, NAT64 for local use, Teredo, and site-local ones.
_CLOSED = tuple(
    IPv6Network(one)
    for one in ("64:ff9b:1::/48", "2001::/23", "2001:db8::/32", "3fff::/20", "fec0::/10")
)


def find_url_fault(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a receiver's URL, as the end of a sentence; None if nothing is."""
    if len(url) > MAX_URL_CHARS:
        return f"expected a URL of at most {MAX_URL_CHARS} characters"
    if not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        return "expected a URL of printable ASCII without spaces; encode anything else"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "expected an http or https URL"
    if parts.scheme not in DEFAULT_PORTS or not host or port == 0:
        return "expected an http or https URL"
    if parts.username is not None or parts.password is not None:
        return "expected a URL without a user name or password"
    if not allow_private and _is_private_literal(host):
        return "the address is private: receivers must be reachable from the public internet"
    return None


def is_public(address: Address) -> bool:
    """Whether anyone on the internet could ask this address."""
    if isinstance(address, IPv4Address):
        return address.is_global and not address.is_multicast
    carried = _carried(address)
    if carried is not None:
        return is_public(carried)
    if any(address in network for network in _CLOSED):
        return False
    return address.is_global and not address.is_multicast


def _carried(address: IPv6Address) -> IPv4Address | None:
    for network, right in _CARRIERS:
        if address in network:
            return IPv4Address(int(address) >> right & 0xFFFFFFFF)
    return None


def _is_private_literal(host: str) -> bool:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
    return not is_public(address)
