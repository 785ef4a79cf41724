"""TLS with a model server: whom to trust, and how to show who is asking."""

import ssl
from functools import cache
from pathlib import Path

from batchmill.domain.errors import ConfigError
from batchmill.ports import Identity, Target


def make_context(target: Target) -> ssl.SSLContext:
    """What speaks TLS with ``target``; raises ConfigError for files that will not do.

    The machine's own authorities are trusted, and ``target.ca`` besides them.
    Targets of the same files share a context: to make one takes milliseconds.
    """
    return _make(target.ca, target.identity)


@cache
def _make(ca: Path | None, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca is not None:
        _trust(context, ca)
    if identity is not None:
        _show(context, identity)
    return context


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise ConfigError(
            f"An upstream's ca names {ca}, which holds no certificate in PEM form."
        ) from None
    except OSError as error:
        raise _unreadable("ca", ca, error) from None


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    certificate, key = identity.certificate, identity.key
    for name, path in (("client_certificate", certificate), ("client_key", key)):
        try:
            path.open("rb").close()
        except OSError as error:
            raise _unreadable(name, path, error) from None
    try:
        # Without an answer of its own the library would ask on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError:
        where = f"{certificate}" if certificate == key else f"{certificate} and {key}"
        raise ConfigError(
            f"An upstream's client_certificate and client_key name {where}: they must hold a "
            "certificate and its key in PEM form, the key without a passphrase."
        ) from None


def _unreadable(name: str, path: Path, error: OSError) -> ConfigError:
    return ConfigError(f"An upstream's {name} cannot be read: {path} ({error.strerror}).")
