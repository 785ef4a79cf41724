"""How the verbs read and write files: ``-`` is stdin or stdout, and nothing is left half done.

What goes wrong with a file is one sentence on stderr and exit code 2; no
traceback reaches a person for a mistake of theirs.
"""

import codecs
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, Final, TextIO

import typer

from batchmill.domain.errors import BatchmillError, InvalidRequest

STDIO: Final = "-"
UNUSABLE: Final = 2


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn what can go wrong with a user's files into a sentence and exit code 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read stdout has gone: Typer ends quietly
    except BatchmillError as error:
        _end(error.message)
    except UnicodeError as error:
        # a codec that misses its byte order mark says less of itself
        encoding = getattr(error, "encoding", None) or "text of its encoding"
        _end(
            f"The input is not valid {encoding}; save it as UTF-8, "
            "or name its encoding with --encoding where the command has that."
        )
    except OSError as error:
        _end(f"{error.filename or 'The file'}: {error.strerror or error}.")


def _end(sentence: str) -> None:
    typer.echo(f"batchmill: {sentence}", err=True)
    raise typer.Exit(UNUSABLE)


@contextmanager
def open_binary(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file or of stdin."""
    if name == STDIO:
        yield typer.get_binary_stream("stdin")
        return
    with Path(name).open("rb") as stream:
        yield stream


@contextmanager
def open_text(name: str, encoding: str = "utf-8") -> Iterator[TextIO]:
    """The text of a file or of stdin, line ends kept as they are."""
    with open_binary(name) as stream:
        text = TextIOWrapper(stream, encoding=_known(encoding), newline="")
        try:
            yield text
        finally:
            text.detach()  # the stream is closed by whom it belongs to


def _known(encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError:
        raise InvalidRequest(f"There is no encoding '{encoding}'; try utf-8 or gbk.") from None


def write_pieces(name: str, pieces: Iterable[bytes]) -> int:
    """Write to a file or stdout, and count the pieces.

    A file is replaced only once everything is written: a failure leaves it as
    it was. What is not a plain file (a pipe, a device) is written to directly.
    """
    if name == STDIO:
        return _copy(pieces, typer.get_binary_stream("stdout"))
    path = Path(name).resolve()
    if path.exists() and not path.is_file():
        with path.open("wb") as stream:
            return _copy(pieces, stream)
    return _replace(path, pieces)


def _copy(pieces: Iterable[bytes], stream: BinaryIO) -> int:
    count = 0
    for piece in pieces:
        stream.write(piece)
        count += 1
    stream.flush()
    return count


def _replace(path: Path, pieces: Iterable[bytes]) -> int:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            count = _copy(pieces, stream)
        part.replace(path)
    finally:
        with suppress(FileNotFoundError):  # where it took the file's place
            part.unlink()
    return count


def say(sentence: str) -> None:
    """Tell a person what was done, beside the output."""
    typer.echo(sentence, err=True)


def plural(count: int, noun: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
