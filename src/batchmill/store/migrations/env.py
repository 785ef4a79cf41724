"""How Alembic runs here: on the connection that it is handed, in that one's transaction."""

from alembic import context

from batchmill.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
