"""The shapes of public identifiers. Pure: the randomness is handed in.

Shapes follow the recorded answers of the service whose API this is:
``file-batch-`` and ``file-batch_output-`` with 24 hex digits, ``batch_`` with
a UUID4, ``upload_`` and ``part_`` with 32 hex digits.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from uuid import UUID

INPUT_FILE_PREFIX = "file-batch-"
OUTPUT_FILE_PREFIX = "file-batch_output-"


def input_file_id(entropy: bytes) -> str:
    """The id of an uploaded file; ``entropy`` is at least 12 random bytes."""
    return INPUT_FILE_PREFIX + entropy[:12].hex()


def output_file_id(entropy: bytes) -> str:
    """The id of an output or error file; ``entropy`` is at least 12 random bytes."""
    return OUTPUT_FILE_PREFIX + entropy[:12].hex()


def batch_id(entropy: bytes) -> str:
    """The id of a batch; ``entropy`` is 16 random bytes."""
    return f"batch_{UUID(bytes=entropy[:16], version=4)}"


def upload_id(entropy: bytes) -> str:
    """The id of a multipart upload; ``entropy`` is 16 random bytes."""
    return "upload_" + entropy[:16].hex()


def part_id(entropy: bytes) -> str:
    """The id of one part of an upload; ``entropy`` is 16 random bytes."""
    return "part_" + entropy[:16].hex()


def line_id(batch: str, number: int) -> str:
    """The id of what became of a line: the same for every attempt and every delivery.

    Its last group is the number; the others are the batch's. It stands as
    ``id`` and ``request_id`` in the result, and goes to the upstream as the
    ``Idempotency-Key``, so that a line which is sent twice can be recognised
    there.
    """
    return line_ids(batch)(number)


@lru_cache(maxsize=256)
def line_ids(batch: str) -> Callable[[int], str]:
    """What makes the ids of a batch's lines out of their numbers, in the shape of a UUID4.

    Kept, and cut by hand: a digest a line and UUID() cost more than to judge an answer.
    """
    text = blake2b(batch.encode(), digest_size=16).hexdigest()
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-%012x".__mod__
