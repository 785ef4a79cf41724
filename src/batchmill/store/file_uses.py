"""Which batches use a file: as their input, or as one of the two files that they made."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Label, RowMapping, Select, Subquery, case, func, literal, select, union_all

from batchmill.domain.batch import Status
from batchmill.ports import FileRole, FileUse
from batchmill.store.batch_rows import name_of
from batchmill.store.tables import UNFINISHED, batches

_COLUMNS = {
    FileRole.INPUT: batches.c.input_file_id,
    FileRole.OUTPUT: batches.c.output_file_id,
    FileRole.ERROR: batches.c.error_file_id,
}


def uses_statement(account: str, file_ids: Sequence[str], most: int) -> Select[Any]:
    """The uses of each file, ``most`` at the most: unfinished batches first, then the newest."""
    found = union_all(*(_found(role, account, file_ids) for role in FileRole)).subquery("found")
    ranked = select(found.c.file_id, found.c.role, found.c.seq, _place(found)).subquery("ranked")
    told = (batches.c.id, batches.c.metadata, batches.c.status)
    return (
        select(ranked.c.file_id, ranked.c.role, *told)
        .join(batches, batches.c.seq == ranked.c.seq)
        .where(ranked.c.place <= most)
        .order_by(ranked.c.file_id, ranked.c.place)
    )


def uses_by_file(rows: Sequence[RowMapping]) -> Mapping[str, Sequence[FileUse]]:
    """The uses in the rows of ``uses_statement``, by the id of their file."""
    uses: dict[str, list[FileUse]] = {}
    for row in rows:
        name, status = name_of(row["metadata"]), Status(row["status"])
        use = FileUse(row["id"], name, FileRole(row["role"]), status)
        uses.setdefault(row["file_id"], []).append(use)
    return uses


def _found(role: FileRole, account: str, file_ids: Sequence[str]) -> Select[Any]:
    column = _COLUMNS[role]
    told = (batches.c.seq, batches.c.created_at, batches.c.status)
    own = (batches.c.account == account, column.in_(file_ids))
    return select(column.label("file_id"), literal(role.value).label("role"), *told).where(*own)


def _place(found: Subquery) -> Label[Any]:
    is_over = case((found.c.status.in_(UNFINISHED), 0), else_=1)
    order = (is_over, found.c.created_at.desc(), found.c.seq.desc())
    placed = func.row_number().over(partition_by=found.c.file_id, order_by=order)
    return placed.label("place")
