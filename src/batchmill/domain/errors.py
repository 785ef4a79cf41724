"""What can go wrong, sorted by whose move it is.

    BatchmillError
    ├── Refused                 the caller's move: change the request
    │   ├── Unidentified        no key, or one that opens nothing
    │   ├── Forbidden           the key's role does not reach so far
    │   ├── InvalidRequest      a field is missing, malformed or out of range
    │   ├── NotFound            no such thing for this caller
    │   ├── Conflict            the thing is in another state than the request needs
    │   ├── TooLarge            more bytes than the limit allows
    │   ├── QuotaExceeded       the account's files or bytes are used up
    │   └── RateLimited         too many requests in too short a time: wait, and repeat it
    ├── ConfigError             the operator's move: change a setting
    ├── StorageFull             the operator's move: make room on the disk
    ├── StorageAway             nobody's move: the database or the bucket cannot be reached now
    └── Superseded              nobody's move: another engine has taken over

Messages are whole sentences for the person who reads them. They never hold
prompts, answers or secrets.
"""

from batchmill.domain.rates import Ruling


class BatchmillError(Exception):
    """Base of every error that batchmill raises on purpose."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Refused(BatchmillError):
    """The request cannot be served as it stands; ``param`` names the field at fault."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class Unidentified(Refused):
    """The request has no key, or one that opens nothing."""


class Forbidden(Refused):
    """The caller is known, but their role does not reach so far."""


class InvalidRequest(Refused):
    """A field is missing, malformed or out of range."""


class NotFound(Refused):
    """There is no such thing, or it belongs to another account."""


class Conflict(Refused):
    """The thing is in another state than the request needs; repeating it will not help."""


class TooLarge(Refused):
    """The request carries more bytes than the limit allows."""


class QuotaExceeded(Refused):
    """The account's quota of files or bytes is used up."""


class RateLimited(Refused):
    """The account sends requests of this kind too often; ``ruling`` says when the next may pass."""

    def __init__(self, message: str, ruling: Ruling) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.ruling = ruling


class ConfigError(BatchmillError):
    """A setting is wrong; the message names it and says what it may be."""


class StorageFull(BatchmillError):
    """The disk or the bucket took no more bytes; nothing was stored."""


class StorageAway(BatchmillError):
    """The database or the bucket does not answer; whether it did what was asked is unknown."""


class Superseded(BatchmillError):
    """Another engine decides over this database now; what this one wanted to write was refused."""
