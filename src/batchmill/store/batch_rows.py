"""Batches as rows: what each column holds, and a row read back as a Batch."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping

from batchmill.domain.batch import Batch, Counts, Halt, LineError, Status
from batchmill.domain.money import parse_amount, text_of
from batchmill.domain.usage import ZERO
from batchmill.store.money import columns_of_prices, prices_of
from batchmill.store.search import fold
from batchmill.store.tokens import columns_of, usage_of

_NAME_KEY = "ds_name"
_TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)


def new_row(batch: Batch) -> dict[str, Any]:
    """Every column of a batch that was just created, but those of its idempotency key."""
    metadata = batch.metadata
    name = _name_in(metadata)
    return {
        "id": batch.id,
        "account": batch.account,
        "workspace": batch.workspace,
        "key_id": batch.key_id,
        "allowed_models": _list_as_text(batch.allowed_models),
        "input_file_id": batch.input_file_id,
        "endpoint": batch.endpoint,
        "completion_window": batch.completion_window,
        "created_at": batch.created_at,
        "expires_at": batch.expires_at,
        "output_expires_after": batch.output_expires_after,
        "price_version": batch.price_version,
        "budget": None if batch.budget is None else text_of(batch.budget),
        "name": None if name is None else fold(name),
        "metadata": None if metadata is None else json.dumps(dict(metadata)),
        **_sums(Counts(), batch=None),
        **changed_columns(batch),
    }


def name_of(metadata: str | None) -> str | None:
    """The name of a batch, as its owner wrote it, in the text of its metadata."""
    return _name_in(_mapping_of_text(metadata))


def changed_columns(batch: Batch) -> dict[str, Any]:
    """The columns that a move may change. The sums are among them once the batch is terminal."""
    return {
        "status": batch.status.value,
        "verdict": None if batch.verdict is None else batch.verdict.value,
        "model": batch.model,
        "currency": batch.currency,
        "halt": None if batch.halt is None else batch.halt.value,
        "errors": _errors_as_text(batch.errors),
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        **{name: getattr(batch, name) for name in _TIMES},
        **(_sums(batch.counts, batch=batch) if batch.status.is_terminal else {}),
    }


def batch_of(row: RowMapping) -> Batch:
    """The Batch in a row, its sums being those that the query chose."""
    list_price, price = prices_of(row)
    return Batch(
        id=row["id"],
        account=row["account"],
        workspace=row["workspace"],
        key_id=row["key_id"],
        allowed_models=_list_of_text(row["allowed_models"]),
        input_file_id=row["input_file_id"],
        endpoint=row["endpoint"],
        completion_window=row["completion_window"],
        status=Status(row["status"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        metadata=_mapping_of_text(row["metadata"]),
        output_expires_after=row["output_expires_after"],
        verdict=None if row["verdict"] is None else Status(row["verdict"]),
        model=row["model"],
        errors=_errors_of_text(row["errors"]),
        counts=Counts(int(row["total"]), int(row["completed"]), int(row["failed"])),
        usage=usage_of(row),
        resent=int(row["resent"]),
        price_version=row["price_version"],
        currency=row["currency"],
        list_price=list_price,
        price=price,
        budget=None if row["budget"] is None else parse_amount(row["budget"]),
        halt=None if row["halt"] is None else Halt(row["halt"]),
        output_file_id=row["output_file_id"],
        error_file_id=row["error_file_id"],
        **{name: row[name] for name in _TIMES},
    )


def _sums(counts: Counts, batch: Batch | None) -> dict[str, int]:
    return {
        "total": counts.total,
        "completed": counts.completed,
        "failed": counts.failed,
        "resent": 0 if batch is None else batch.resent,
        **columns_of(ZERO if batch is None else batch.usage),
        **columns_of_prices(
            0 if batch is None else batch.list_price, 0 if batch is None else batch.price
        ),
    }


def _name_in(metadata: Mapping[str, str] | None) -> str | None:
    return None if metadata is None else metadata.get(_NAME_KEY)


def _mapping_of_text(text: str | None) -> dict[str, str] | None:
    return None if text is None else dict(json.loads(text))


def _list_as_text(names: Sequence[str] | None) -> str | None:
    return None if names is None else json.dumps(names)


def _list_of_text(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(json.loads(text))


def _errors_as_text(errors: Sequence[LineError]) -> str | None:
    if not errors:
        return None
    return json.dumps([[e.code, e.message, e.param, e.line] for e in errors])


def _errors_of_text(text: str | None) -> tuple[LineError, ...]:
    return () if text is None else tuple(LineError(*error) for error in json.loads(text))
