"""Creating a batch: settings and a file, the check of it, and only then the batch.

The steps are one form: what was said in the first is carried, hidden, to the
last. A file that was sent and is not wanted any more is deleted when asked for.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from batchmill.console.entry import action, page
from batchmill.console.view.figures import duration
from batchmill.console.visit import HEADERS, Visit
from batchmill.domain.catalog import TEST_MODEL
from batchmill.domain.errors import BatchmillError, InvalidRequest, NotFound
from batchmill.domain.estimate import Estimate, Method
from batchmill.domain.file import File
from batchmill.domain.limits import DAY, Limits, parse_duration
from batchmill.domain.rates import RateRule
from batchmill.door.access import Access
from batchmill.door.statuses import STATUSES
from batchmill.service.batches import BatchSpec
from batchmill.service.estimates import EstimateSpec
from batchmill.service.metadata import DESCRIPTION, NAME
from batchmill.service.refusals import shorten
from batchmill.service.sample import PROMPTED, sample_requests
from batchmill.service.services import Services
from batchmill.service.trials import start_trial
from batchmill.service.windows import usual_window

HEAD_BYTES: Final = 2_000

_DIALOG: Final = "dialog-body"
_HOW: Final = {
    Method.TOKENIZER: "counted by the model's tokenizer",
    Method.SAMPLE: "from a sample that the model's tokenizer counted",
    Method.BYTES: "a quarter of the bytes of the text",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What the form says of the batch-to-be, as it was typed; ``file`` is an id.

    ``is_sent`` says that this form sent the file, ``in_dialog`` where the form stands.
    """

    name: str = ""
    description: str = ""
    window: str = ""
    budget: str = ""
    metadata: str = ""
    file: str = ""
    is_sent: bool = False
    in_dialog: bool = False

    @property
    def whole_metadata(self) -> dict[str, str] | None:
        """Everything that goes into the batch's metadata; raises InvalidRequest."""
        pairs = dict(_read_pair(line) for line in self.metadata.splitlines() if line.strip())
        own = {NAME: self.name, DESCRIPTION: self.description}
        return {**pairs, **{key: text for key, text in own.items() if text}} or None


def read_plan(value: Callable[[str], str], *, in_dialog: bool = False) -> Plan:
    """The plan of a form or of an address; ``value`` looks a name up."""
    return Plan(
        name=value("name"),
        description=value("description"),
        window=value("window"),
        budget=value("budget"),
        metadata=value("metadata"),
        file=value("file"),
        is_sent=bool(value("is_sent")),
        in_dialog=in_dialog or bool(value("in_dialog")),
    )


def _read_pair(line: str) -> tuple[str, str]:
    key, found, text = line.partition("=")
    if not found or not key.strip():
        message = (
            f"Metadata is a line for each pair, such as team=search, but got '{shorten(line)}'."
        )
        raise InvalidRequest(message, param="metadata")
    return key.strip(), text.strip()


@dataclass(frozen=True, slots=True)
class Check:
    """What was found out about a file, to be shown before anything is paid."""

    file: File
    estimate: Estimate
    heads: Sequence[bytes]

    @property
    def faults(self) -> int:
        """How many faults there are; those that are not listed count as well."""
        return max(self.estimate.checked.bad_lines, len(self.estimate.checked.errors))

    @property
    def input_tokens(self) -> int:
        """Of all models."""
        return sum(one.input_tokens for one in self.estimate.models)

    @property
    def methods(self) -> str:
        """Where the number of tokens comes from."""
        return "; ".join(dict.fromkeys(_HOW[one.method] for one in self.estimate.models))

    @property
    def first_lines(self) -> Sequence[tuple[str, bool]]:
        """How the first lines begin, and whether they go on."""
        return [
            (line[:HEAD_BYTES].decode("utf-8", "ignore"), len(line) > HEAD_BYTES)
            for line in self.heads
        ]


class CreatePages:
    """The dialog that creates a batch, which is a page as well."""

    def __init__(self, services: Services, *, limits: Limits) -> None:
        self._services = services
        self._limits = limits

    def routes(self) -> Sequence[BaseRoute]:
        """The pages and actions, below the console's base."""
        return [
            page("/batches/new", self.begin, Access.WRITE),
            action("/batches/new/settings", self.settle),
            action("/batches/new/check", self.check),
            action("/batches/new/discard", self.discard, rate=RateRule.FILE_OTHER),
            action("/batches/trial", self.try_out, rate=RateRule.BATCH_CREATE),
            action("/batches", self.create, rate=RateRule.BATCH_CREATE),
            page("/sample.jsonl", self.sample, Access.WRITE),
        ]

    async def begin(self, visit: Visit) -> Response:
        """The form; where the address names a file, the check of that."""
        in_dialog = visit.request.headers.get("hx-target") == _DIALOG
        plan = read_plan(visit.value, in_dialog=in_dialog)
        if not plan.file:
            return await self._settings(visit, plan)
        file = await self._services.files.retrieve(visit.caller, plan.file)
        return visit.show("create.html", step="check", plan=plan, file=file)

    async def settle(self, visit: Visit) -> Response:
        """Back to the settings: with the same file, or to choose another."""
        form = await visit.form()
        plan = read_plan(form.value)
        if not form.value("another"):
            return await self._settings(visit, plan)
        await self._drop_sent(visit, plan)
        return await self._settings(visit, _without_file(plan))

    async def check(self, visit: Visit) -> Response:
        """Read the file as its batch would, and show what it comes to."""
        plan = read_plan((await visit.form()).value)
        usual = usual_window(self._services.batches.windows())
        plan = replace(plan, window=plan.window or usual)
        try:
            found = await self._check(visit, plan)
        except BatchmillError as error:
            return await self._settings(visit, plan, error)
        # a key for each check: to confirm it twice makes one batch
        label = window_label(plan.window)
        key = token_hex(16)
        return visit.show("check.html", plan=plan, check=found, window_label=label, key=key)

    async def create(self, visit: Visit) -> Response:
        """Create the batch, and show it."""
        form = await visit.form()
        plan = read_plan(form.value)
        try:
            spec = BatchSpec(
                input_file_id=plan.file,
                endpoint=form.value("endpoint"),
                completion_window=plan.window,
                metadata=plan.whole_metadata,
                budget=plan.budget or None,
            )
            key = form.given("key")
            state = await self._services.batches.create(visit.caller, spec, key)
        except BatchmillError as error:
            return _message(visit, error)
        return visit.go(f"/batches/{state.batch.id}", "The batch was created.")

    async def try_out(self, visit: Visit) -> Response:
        """Run the first lines on the test model, and show that batch."""
        plan = read_plan((await visit.form()).value)
        try:
            file = await self._services.files.retrieve(visit.caller, plan.file)
            title = plan.name or file.filename
            state = await start_trial(self._services, visit.caller, file.id, title)
        except BatchmillError as error:
            return _message(visit, error)
        told = f"The first lines of {file.filename} run on the test model; the file itself is kept."
        return visit.go(f"/batches/{state.batch.id}", told)

    async def discard(self, visit: Visit) -> Response:
        """Give up, and delete the file that the form sent."""
        plan = read_plan((await visit.form()).value)
        try:
            await self._drop_sent(visit, plan)
        except BatchmillError as error:
            return _message(visit, error)
        return visit.go("/batches", "The file was deleted, and no batch was created.")

    async def sample(self, visit: Visit) -> Response:
        """Two requests that run here."""
        body = sample_requests(await self._services.board.look(visit.caller))
        headers = {**HEADERS, "content-disposition": 'attachment; filename="sample.jsonl"'}
        return Response(body, headers=headers, media_type="application/jsonl")

    async def _settings(
        self, visit: Visit, plan: Plan, error: BatchmillError | None = None
    ) -> Response:
        windows = self._services.batches.windows()
        chosen = plan.window or usual_window(windows)
        shown = windows if chosen in windows else [*windows, chosen]
        models = await self._services.board.look(visit.caller)
        return visit.show(
            "create.html",
            answered=_status(error),
            step="settings",
            message=None if error is None else error.message,
            plan=plan,
            file=await self._file(visit, plan),
            windows=[(text, window_label(text)) for text in shown],
            chosen_window=chosen,
            models=sorted((model.name for model in models), key=lambda name: name == TEST_MODEL),
            endpoints=[one for one in PROMPTED if any(one in model.endpoints for model in models)]
            or PROMPTED,
            max_file_bytes=self._limits.max_file_bytes,
        )

    async def _check(self, visit: Visit, plan: Plan) -> Check:
        caller, services = visit.caller, self._services
        spec = EstimateSpec(
            input_file_id=plan.file,
            completion_window=plan.window,
            metadata=plan.whole_metadata,
            budget=plan.budget or None,
        )
        estimate = await services.estimates.estimate(caller, spec)
        file = await services.files.retrieve(caller, plan.file)
        heads = await services.reruns.head(caller, plan.file, max_bytes=HEAD_BYTES + 8)
        return Check(file, estimate, heads)

    async def _file(self, visit: Visit, plan: Plan) -> File | None:
        """The file that was chosen before, if it is still there."""
        with suppress(NotFound):
            return await self._services.files.retrieve(visit.caller, plan.file)
        return None

    async def _drop_sent(self, visit: Visit, plan: Plan) -> None:
        """Delete the file, if it was this form that sent it; that it is gone already is fine."""
        if plan.is_sent:
            with suppress(NotFound):
                await self._services.files.delete(visit.caller, plan.file)


def window_label(text: str) -> str:
    """A completion window as people say it."""
    seconds = parse_duration(text)
    if seconds is None:
        return text
    days, rest = divmod(seconds, DAY)
    if rest:
        return duration(seconds)
    return "1 day" if days == 1 else f"{days} days"


def _without_file(plan: Plan) -> Plan:
    return replace(plan, file="", is_sent=False)


def _status(error: BatchmillError | None) -> int:
    return 200 if error is None else STATUSES.get(type(error), 500)


def _message(visit: Visit, error: BatchmillError) -> Response:
    """What went wrong, shown where the form wants it: a dialog hides the page's own messages."""
    return visit.show("message.html", answered=_status(error), message=error.message)
