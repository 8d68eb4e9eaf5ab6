"""What Alembic runs: the steps that are missing, on the connection and in the transaction that it is given."""

from alembic import context

from moderation_service.console.store.tables import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
context.run_migrations()
