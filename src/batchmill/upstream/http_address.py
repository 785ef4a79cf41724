"""Where an upstream is, and the request heads that are sent there.

Pure text: nothing here opens a connection. Whatever goes into a head is checked
here first, so that no key and no path can smuggle a line break into a request.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from urllib.parse import SplitResult, urlsplit

from batchmill.domain.errors import ConfigError

USER_AGENT = f"batchmill/{version('batchmill')}"
DEFAULT_PORTS = {"http": 80, "https": 443}
# A kept connection that was not used for so many seconds is closed.
IDLE_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Address:
    """An upstream's base URL, taken apart; ``authority`` is what the Host header says."""

    host: str
    port: int
    tls: bool
    authority: str
    base: str


def parse_url(url: str) -> Address:
    """The parts of a base URL such as ``http://10.0.0.5:8000/v1``; raises ConfigError."""
    parts = _split(url)
    host = parts.hostname
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise ConfigError(
            f"The upstream URL {url!r} is not usable: write it like http://host:8000/v1."
        )
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    literal = f"[{host}]" if ":" in host else host
    is_default = port == DEFAULT_PORTS[parts.scheme]
    return Address(
        host=host,
        port=port,
        tls=parts.scheme == "https",
        authority=literal if is_default else f"{literal}:{port}",
        base=parts.path.rstrip("/"),
    )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError as error:
        raise ConfigError(f"The upstream URL is not usable: {error}.") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            "An upstream URL holds a user name or password: set the upstream's API key instead."
        )
    if parts.query or parts.fragment or not is_plain(url):
        raise ConfigError(
            f"The upstream URL {url!r} holds a query, a fragment, spaces or characters beyond "
            "ASCII: write only scheme, host, port and path."
        )
    return parts


def is_plain(text: str) -> bool:
    """Whether ``text`` is printable ASCII without spaces: safe in a request head."""
    return text.isascii() and text.isprintable() and " " not in text


def check_key(idempotency_key: str) -> None:
    """Return where the key can stand in a request head; raises ValueError."""
    if not (idempotency_key.isascii() and idempotency_key.isprintable()):
        raise ValueError("An idempotency key is printable ASCII.")


class RequestHeads:
    """The unchanging part of each request, made once per path.

    ``post`` gives the head of a POST up to the value of its Idempotency-Key; raises ValueError.
    """

    __slots__ = ("_address", "_fields", "post")

    def __init__(self, address: Address, api_key: str | None) -> None:
        """Raises ConfigError where the key cannot stand in a header."""
        fields = shared_fields(address, api_key)
        self._address = address
        self._fields = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        self.post: Callable[[str], str] = cache(self._post)

    def _post(self, path: str) -> str:
        return f"{self._opening('POST', path)}Content-Type: application/json\r\nIdempotency-Key: "

    def get(self, path: str) -> bytes:
        """A whole GET request; raises ValueError."""
        return f"{self._opening('GET', path)}\r\n".encode("ascii")

    def _opening(self, method: str, path: str) -> str:
        return f"{method} {whole_path(self._address, path)} HTTP/1.1\r\n{self._fields}"


def whole_path(address: Address, path: str) -> str:
    """``path`` under the address's base; raises ValueError where it cannot stand in a request."""
    if not path.startswith("/") or not is_plain(path):
        raise ValueError("A request path begins with / and is printable ASCII without spaces.")
    return f"{address.base}{path}"


def shared_fields(address: Address, api_key: str | None) -> dict[str, str]:
    """The header fields of every request; raises ConfigError where the key cannot stand in one."""
    if api_key is not None and not is_plain(api_key):
        raise ConfigError(
            f"The API key for {address.authority} holds spaces, line breaks or characters "
            "beyond ASCII: check how it was copied."
        )
    fields = {
        "Host": address.authority,
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    if api_key is not None:
        fields["Authorization"] = f"Bearer {api_key}"
    return fields
