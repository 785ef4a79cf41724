"""The register of a cluster: who may hold a lease, for the next dispatcher to read."""

import asyncio

from batchmill.ports import Sign
from batchmill.wiring.cluster import SignedRegister


class Signs:
    """A row that remembers how it was written."""

    def __init__(self) -> None:
        self.sign: Sign | None = None
        self.written: list[bool] = []

    async def put(self, sign: Sign, *, durably: bool = False) -> None:
        self.sign = sign
        self.written.append(durably)

    async def get(self, name: str) -> Sign | None:
        return self.sign

    async def list(self, prefix: str) -> list[Sign]:
        raise NotImplementedError

    async def forget(self, before: float) -> None:
        raise NotImplementedError


class Clock:
    def now(self) -> float:
        return 7.0

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


def test_who_came_or_went_is_written_durably_and_the_proof_in_between_is_not() -> None:
    async def main() -> None:
        signs = Signs()
        register = SignedRegister(signs, Clock())
        assert await register.read() == frozenset()
        for names in ("a", "a", "ab", "ab", "b"):
            await register.write(frozenset(names))
            assert await register.read() == frozenset(names)
        assert signs.written == [True, False, True, False, True]

    asyncio.run(main())
