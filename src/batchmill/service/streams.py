"""Streams of bytes: closing them on time, starting them early, cutting them into lines."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def closing(chunks: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """The stream, let go of when the block ends, wherever reading stopped."""
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


async def begin(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same stream, its first chunk already here: what it raises first is raised now."""
    first = await anext(chunks, b"")
    return _chain(first, chunks)


async def _chain(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    async with closing(chunks) as rest:
        if first:
            yield first
        async for chunk in rest:
            yield chunk


async def split_lines(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
    """The lines of a stream without their newlines; a last line needs none."""
    parts: list[bytes] = []
    async with closing(chunks) as stream:
        async for chunk in stream:
            *whole, rest = chunk.split(b"\n")
            for piece in whole:
                yield b"".join((*parts, piece))
                parts.clear()
            parts.append(rest)
    last = b"".join(parts)
    if last:
        yield last
