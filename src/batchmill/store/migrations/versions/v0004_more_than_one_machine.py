"""Several machines share a database: who leads, what they tell, which releases may work here."""

import sqlalchemy as sa
from alembic import op

from batchmill.store.migrations import TEXT

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "leadership",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
    )
    op.execute("INSERT INTO leadership (id, epoch, since) VALUES (1, 0, 0)")
    op.create_table(
        "signs",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
    )
    op.create_table(
        "secrets",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
    )
    op.create_table("schema_terms", sa.Column("oldest", TEXT, primary_key=True))
    op.execute("INSERT INTO schema_terms (oldest) VALUES ('0004')")
