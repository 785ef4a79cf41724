"""Files are found by a part of their name, batches by their files; retries are counted."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from batchmill.store.migrations import TEXT

revision = "0003"
down_revision = "0002"

PAGE = 1_000

FILES = sa.table("files", *map(sa.column, ("seq", "filename", "folded")))


def upgrade() -> None:
    of_workspace = ["account", "workspace", "created_at", "seq"]
    op.create_index("ix_batches_newest_of_workspace", "batches", of_workspace)
    op.drop_index("ix_batches_input", "batches")
    op.create_index("ix_batches_input", "batches", ["account", "input_file_id", "status"])
    op.create_index("ix_batches_output", "batches", ["account", "output_file_id"])
    op.create_index("ix_batches_error", "batches", ["account", "error_file_id"])
    op.add_column("files", sa.Column("folded", TEXT, nullable=False, server_default=""))
    fold_names(op.get_bind())
    for table in ("ledger", "meters"):
        retries = sa.Column("retries", sa.BigInteger(), nullable=False, server_default="0")
        op.add_column(table, retries)


def fold_names(connection: sa.Connection) -> None:
    folding = sa.update(FILES).where(FILES.c.seq == sa.bindparam("of_seq"))
    for page in named_files(connection):
        rows = [{"of_seq": seq, "folded": filename.casefold()} for seq, filename in page]
        connection.execute(folding, rows)


def named_files(connection: sa.Connection) -> Iterator[list[tuple[int, str]]]:
    last = 0
    while True:
        behind = sa.select(FILES.c.seq, FILES.c.filename).where(FILES.c.seq > last)
        rows = connection.execute(behind.order_by(FILES.c.seq).limit(PAGE)).all()
        if not rows:
            return
        yield [(seq, filename) for seq, filename in rows]
        last = rows[-1][0]
