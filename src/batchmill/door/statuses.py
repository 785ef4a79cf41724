"""The status that each error on purpose is answered with, at whichever door."""

from collections.abc import Mapping
from typing import Final

from batchmill.domain.errors import (
    BatchmillError,
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    QuotaExceeded,
    RateLimited,
    StorageAway,
    StorageFull,
    TooLarge,
    Unidentified,
)
from batchmill.door.bodies import Stalled

STATUSES: Final[Mapping[type[BatchmillError], int]] = {
    Unidentified: 401,
    Forbidden: 403,
    InvalidRequest: 400,
    TooLarge: 400,
    NotFound: 404,
    Conflict: 409,
    QuotaExceeded: 429,
    RateLimited: 429,
    StorageFull: 507,
    StorageAway: 503,
    Stalled: 408,
}
