"""Which hosts and pages may speak to a server that asks for no key.

A page of any site can send requests to a server on the reader's own machine,
by a name that is made to point there or across origins. So the Host header
must be a loopback name or one that the operator allows, and so must the page.
"""

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from batchmill.api.errors import ForeignPage, Misdirected
from batchmill.service.refusals import shorten

ANY = "*"


class HostRule:
    """Loopback names and ``allowed`` names (without a port); ``*`` lets every name through."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(name.lower().rstrip(".") for name in allowed)

    def check(self, headers: Mapping[str, str]) -> None:
        """Raise Misdirected or ForeignPage unless the request may come in."""
        host = headers.get("host", "")
        if not self.permits(host):
            message = (
                f"This server does not answer to the host '{shorten(host)}': use localhost, "
                "or have its operator add the name to server.allowed_hosts."
            )
            raise Misdirected(message, code="host_not_allowed")
        origin = headers.get("origin")
        if origin is not None and not self.permits(origin.rpartition("//")[2]):
            message = f"Pages of '{shorten(origin)}' may not use this server."
            raise ForeignPage(message, code="origin_not_allowed")

    def permits(self, netloc: str) -> bool:
        """Whether a host, with or without its port, is one of this server's."""
        if ANY in self._allowed:
            return True
        try:
            name = urlsplit(f"//{netloc}").hostname
        except ValueError:
            return False
        if not name or "@" in netloc:
            return False
        name = name.rstrip(".")
        return name in self._allowed or name == "localhost" or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
