"""Certificates of an authority of one's own, as an option of the bucket names them."""

import re
import ssl
from pathlib import Path

from batchmill.domain.errors import ConfigError

OPTION = "data.blob_options.root_certificate"

_MARK = "-----BEGIN"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")


def read_authority(value: str) -> str:
    """The certificates that ``value`` holds, or the file that it names; raises ConfigError.

    Texts may travel to machines that do not have the file.
    """
    text = value if _MARK in value else _read(value)
    found = "\n".join(_CERTIFICATE.findall(text))
    try:
        # The library says no more of a broken one than that it could not be built.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=found)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(f"{OPTION} holds no certificate in PEM form.") from error
    return found


def _read(name: str) -> str:
    if not Path(name).is_absolute() or not name.isprintable():
        raise ConfigError(
            f"{OPTION} must be the whole path of a file, such as /etc/ssl/our-ca.pem, or hold "
            "the certificate itself."
        )
    try:
        return Path(name).read_text(errors="replace")
    except OSError as error:
        raise ConfigError(
            f"{OPTION} names a file that cannot be read: {error.strerror}."
        ) from error
