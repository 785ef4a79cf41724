"""The schema's history, run by Alembic. ``HEAD`` is its newest revision.

A new migration is a file in ``versions`` named for its revision; set ``HEAD``
to it. What was released is never changed.
"""

HEAD = "0004"
