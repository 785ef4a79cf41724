"""Reruns: new input files out of old ones, and what the first lines of a file are.

A file that is made here is one like any other: it comes in through Files, with
quota and durability. Nothing is started; that is a batch of its own.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import aclosing
from typing import Final

from batchmill.domain.batch import Batch
from batchmill.domain.errors import Conflict, InvalidRequest
from batchmill.domain.file import File, Purpose
from batchmill.domain.limits import MB, Limits
from batchmill.domain.lines import RawLine
from batchmill.domain.shards import Shard
from batchmill.ports import BlobMissing, Blobs, Clock, Store
from batchmill.service.caller import Caller
from batchmill.service.drafts import Draft
from batchmill.service.files import Files, FileSpec, unknown_file
from batchmill.service.first_lines import Heads, Trial
from batchmill.service.line_places import index_of, number_of, read_requests
from batchmill.service.lookup import find_batch, find_living_file
from batchmill.service.refusals import require_input
from batchmill.service.streams import closing, split_lines

HEAD_LINES: Final = 5
HEAD_BYTES: Final = 64 * 1024
TRIAL_LINES: Final = 20

# What has no line to show within so much is not looked through any further.
_LOOK_BYTES: Final = 16 * MB
_MAX_STEM_CHARS: Final = 900
_ENDINGS: Final = (".jsonl", ".json", ".csv", ".txt")


class Reruns:
    """The use-cases of making files out of files."""

    def __init__(
        self, *, store: Store, blobs: Blobs, clock: Clock, files: Files, limits: Limits
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._files = files
        self._limits = limits

    async def failed_lines(self, caller: Caller, batch_id: str) -> File:
        """A new input file of the requests that failed, their bytes unchanged.

        Raises NotFound for the batch and for files that are gone; Conflict
        unless the batch has ended with lines that failed; QuotaExceeded,
        TooLarge and StorageFull.
        """
        batch = await find_batch(self._store, caller, batch_id)
        _require_failures(batch)
        shards = await self._store.shards.of_batch(batch.id)
        try:
            source, errors = await self._source(batch), await self._errors(batch)
            async with self._files.draft(caller) as draft:
                await self._copy(source, errors, shards, draft)
                return await self._files.keep(caller, draft, _spec(source.filename, "failed"))
        except BlobMissing:
            await self._source(batch)
            await self._errors(batch)
            raise

    async def trial(self, caller: Caller, file_id: str) -> File:
        """A new input file: the first requests of a file, turned to the test model.

        Raises NotFound; InvalidRequest where it has none that the test model
        could answer; QuotaExceeded and StorageFull.
        """
        file = await self._input(caller, file_id)
        lines = await self._trial_lines(caller, file)
        if not lines:
            message = (
                f"File '{file.id}' cannot be tried: none of its first lines is a chat request "
                "that the test model could answer."
            )
            raise InvalidRequest(message, param="file_id", code="no_trial_line")
        async with self._files.draft(caller, announced=sum(map(len, lines))) as draft:
            await draft.write(b"".join(lines))
            return await self._files.keep(caller, draft, _spec(file.filename, "trial"))

    async def head(
        self,
        caller: Caller,
        file_id: str,
        *,
        count: int = HEAD_LINES,
        max_bytes: int = HEAD_BYTES,
    ) -> Sequence[bytes]:
        """The first lines that are not blank, each cut at ``max_bytes``; raises NotFound."""
        file = await self._input(caller, file_id)
        heads = Heads(count, max_bytes)
        async with closing(await self._beginning(caller, file)) as chunks:
            async for chunk in chunks:
                heads.feed(chunk)
                if heads.is_full:
                    return heads.lines
        heads.end_line()
        return heads.lines

    async def _input(self, caller: Caller, file_id: str) -> File:
        file = await self._files.retrieve(caller, file_id)
        require_input(file)
        return file

    async def _beginning(self, caller: Caller, file: File) -> AsyncIterator[bytes]:
        return await self._files.read(caller, file, start=0, end=min(file.bytes, _LOOK_BYTES))

    async def _source(self, batch: Batch) -> File:
        file = await find_living_file(self._store, batch, batch.input_file_id, self._clock.now())
        if file is None:
            raise unknown_file(batch.input_file_id, param="input_file_id")
        return file

    async def _errors(self, batch: Batch) -> File:
        file_id = batch.error_file_id
        file = await find_living_file(self._store, batch, file_id, self._clock.now())
        if file is None:
            raise unknown_file(file_id or "", param="error_file_id")
        return file

    async def _copy(
        self, source: File, errors: File, shards: Sequence[Shard], draft: Draft
    ) -> None:
        async with aclosing(self._by_shard(errors, shards)) as groups:
            async for shard, numbers in groups:
                async with aclosing(read_requests(self._blobs, source, shard)) as requests:
                    async for group in requests:
                        await draft.write(_lines_of(group, numbers))

    async def _by_shard(
        self, errors: File, shards: Sequence[Shard]
    ) -> AsyncGenerator[tuple[Shard, set[int]]]:
        """The numbers of an error file's lines, shard by shard."""
        numbers: set[int] = set()
        at = 0
        async with aclosing(split_lines(self._blobs.read(errors.blob))) as lines:
            async for line in lines:
                number = number_of(line)
                here = index_of(shards, number)
                if here != at and numbers:
                    yield shards[at], numbers
                    numbers = set()
                at = here
                numbers.add(number)
        if numbers:
            yield shards[at], numbers

    async def _trial_lines(self, caller: Caller, file: File) -> list[bytes]:
        limits = self._limits
        trial = Trial(
            most=min(TRIAL_LINES, limits.test_model_max_lines),
            max_bytes=limits.test_model_max_file_bytes,
        )
        async with closing(await self._beginning(caller, file)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(trial.feed, chunk)
                if trial.is_full:
                    return trial.lines
        if file.bytes <= _LOOK_BYTES:
            await asyncio.to_thread(trial.finish)
        return trial.lines


def _require_failures(batch: Batch) -> None:
    if not batch.status.is_terminal:
        message = (
            f"Batch '{batch.id}' is '{batch.status}': wait for its end, "
            "or cancel it, before its failed lines are run again."
        )
        raise Conflict(message, code="batch_not_ended")
    if batch.error_file_id is None:
        raise Conflict(f"Batch '{batch.id}' has no line that failed.", code="nothing_failed")


def _lines_of(group: Sequence[RawLine], numbers: Collection[int]) -> bytes:
    kept = (raw.data for raw in group if raw.number in numbers)
    return b"".join(line + b"\n" for line in kept if line is not None)


def _spec(filename: str, mark: str) -> FileSpec:
    """A file named for the one that it is made of."""
    stem = filename
    for ending in _ENDINGS:
        stem = stem.removesuffix(ending)
    stem = stem.removesuffix(f"-{mark}")[:_MAX_STEM_CHARS]
    return FileSpec(f"{stem}-{mark}.jsonl", Purpose.BATCH)
