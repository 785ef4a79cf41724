"""Answers without a socket: what a reader makes of the pieces of one."""

from collections.abc import Sequence

from batchmill.ports import FaultKind, Reply, TransportFault
from batchmill.upstream.http_answer import AnswerReader


def kind_of(outcome: Reply | TransportFault | None) -> Reply | FaultKind | None:
    """The outcome, without the words of a fault: those are no equals."""
    return outcome.kind if isinstance(outcome, TransportFault) else outcome


def feed_all(reader: AnswerReader, pieces: Sequence[bytes]) -> tuple[Reply | FaultKind | None, int]:
    """What comes out of the first pieces that tell, and how many those were."""
    for fed, piece in enumerate(pieces, 1):
        if (outcome := reader.feed(piece)) is not None:
            return kind_of(outcome), fed
    return None, len(pieces)
