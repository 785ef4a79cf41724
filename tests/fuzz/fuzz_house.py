"""A furnished house, its description as the fuzzer reads it, and what every answer is held to."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

import schemathesis
from access_table import ROWS
from api_house import House, open_house
from api_keys import new_key, open_locked
from fuzz_door import BASE, session_with
from fuzz_stock import AnyCase, Stock, put_known, stocked
from hypothesis.strategies import SearchStrategy
from requests import Request, Session
from schemathesis import APIOperation, CheckContext, CheckFunction, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.generation.stateful import APIStateMachine
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from batchmill.api.docs import describe
from batchmill.domain.account import Role

Operation = APIOperation[Any, Any, Any, Any]
OPERATIONS: Final = sorted({row.op for row in ROWS})


def errors_are_enveloped(_ctx: CheckContext, response: Response, _case: AnyCase) -> None:
    """Whatever is wrong, it is said in the one envelope; every answer has an id."""
    (request_id,) = response.headers["x-request-id"]
    assert request_id.startswith("req_")
    if response.status_code < 400 or response.request.method == "HEAD":
        return
    body = json.loads(response.content)
    assert set(body) == {"error"}, body
    assert set(body["error"]) == {"message", "type", "param", "code"}, body
    assert 0 < len(body["error"]["message"]) < 2000, body
    content_type = response.headers["content-type"]
    assert content_type == ["application/json"], content_type


def wrong_data_is_refused(ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """What breaks the schema is refused; but an empty parameter is by contract an absent one.

    Nor are strings held to more than the schema says: what their words ask for is tested by
    hand, and what is unknown is ignored.
    """
    sent = parse_qsl(urlsplit(str(response.request.url)).query, keep_blank_values=True)
    if all(value for _, value in sent):
        negative_data_rejection(ctx, response, case)


PROMISES: Final = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    allow_header_conformance,
    wrong_data_is_refused,
)


def promises_of(case: AnyCase) -> list[CheckFunction]:
    """The checks that can be held against the answer to a case."""
    # what is at /batches/estimate is at /batches/{batch_id} too, and allows what that allows
    if case.path == "/v1/batches/estimate":
        return [check for check in PROMISES if check is not allow_header_conformance]
    return list(PROMISES)


@dataclass
class Ground:
    """Where requests are tried: a house, what is in it, and who may come."""

    runner: asyncio.Runner
    house: House
    session: Session
    operations: Mapping[str, Operation]
    stock: Stock
    secrets: dict[str, str | None] = field(default_factory=dict)

    def sweep(self, op: str) -> Iterator[AnyCase]:
        """Every boundary of an operation that its description has, and the methods it has not."""
        operation, turn = self.operations[op], count()
        cases = operation.schema.iter_coverage_cases(
            operation,
            generation_modes=list(GenerationMode),
            generation_config=operation.schema.config.generation,
        )
        for case in cases:
            put_known(case, self.stock.known, lambda found: found[next(turn) % len(found)])
            yield case

    def whatever(self, op: str) -> SearchStrategy[AnyCase]:
        """Cases of an operation that keep to its description, and ones that do not."""
        operation = self.operations[op]
        right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if not self.takes_much(op):
            return right  # there is nothing in it that could be wrong
        return right | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    def takes_much(self, op: str) -> bool:
        """Whether an operation has more to it than its path."""
        operation = self.operations[op]
        return bool(len(operation.query) or len(operation.body))

    def ask(
        self, case: AnyCase, caller: str = "operator", checks: list[CheckFunction] | None = None
    ) -> Response:
        """Send a case as a caller, and hold its answer to every promise."""
        secret = self.secrets[caller]
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
        return case.call_and_validate(
            base_url=BASE,
            session=self.session,
            headers=headers,
            checks=[*promises_of(case), errors_are_enveloped] if checks is None else checks,
        )

    def chains(self) -> type[APIStateMachine]:
        """Requests that follow from answers: what one made, the next reads, changes or deletes."""
        linked: Any = self.operations["listFiles"].schema.as_state_machine()
        ground = self

        class Chain(linked):  # type: ignore[misc]
            def call(self, case: AnyCase, **_: Any) -> Response:
                return ground.ask(case)

            def validate_response(self, *_: Any, **__: Any) -> None:
                """Asking has held the answer to its promises."""

        return Chain

    def put(
        self,
        case: AnyCase,
        *,
        query: str = "",
        path: str = "",
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Send raw text in a case's name, as it stands, and hold the answer to every promise."""
        request = Request(case.method, BASE, data=content).prepare()
        request.url = BASE + (path or case.formatted_path) + (f"?{query}" if query else "")
        secret = self.secrets["operator"]
        if secret:
            request.headers["authorization"] = f"Bearer {secret}"
        request.headers.update(headers or {})
        case.validate_response(
            self.session.send(request), checks=[*promises_of(case), errors_are_enveloped]
        )


@contextmanager
def furnished(root: Path, *, locked: bool) -> Iterator[Ground]:
    """A house with something of everything; a locked one asks for keys."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        opened = open_locked(root) if locked else open_house(root)
        house = runner.run(stack.enter_async_context(opened))
        try:
            with session_with(house.app, runner) as session:
                stock, secrets = runner.run(_furnish(house, locked=locked))
                operations = _operations(house)
                yield Ground(runner, house, session, operations, stock, secrets)
        finally:
            runner.run(stack.aclose())


async def _furnish(house: House, *, locked: bool) -> tuple[Stock, dict[str, str | None]]:
    ours = await stocked(house)
    if not locked:
        return ours, {"operator": None}
    acme = await stocked(house, "Acme")
    room = acme.known["workspace"][0]
    limited = await new_key(
        house, Role.MEMBER, account=acme.account, workspace=room, models=("qwen-plus",)
    )
    for name, values in acme.known.items():
        ours.known[name].extend(value for value in values if value not in ours.known[name])
    secrets = {
        "operator": ours.secret,
        "admin": acme.secret,
        "member": limited.secret,
        "nobody": None,
        "stranger": "sk-bm-nonsense",
    }
    return ours, secrets


def _operations(house: House) -> Mapping[str, Operation]:
    schema = schemathesis.openapi.from_dict(describe(house.app), config=schemathesis.Config())
    read = list(schema.get_all_operations())
    assert all(isinstance(one, Ok) for one in read), read
    found = [one.ok() for one in read if isinstance(one, Ok)]
    return {one.definition.raw["operationId"]: one for one in found}
