"""The schema's history, run by Alembic. ``HEAD`` is its newest revision.

A new migration is a file in ``versions`` named for its revision; set ``HEAD``
to it. What was released is never changed.
"""

import sqlalchemy as sa

HEAD = "0005"

# By bytes, as SQLite has it: the order of lists is the same everywhere, and no index breaks when
# an update of the operating system sorts letters otherwise.
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
