"""Run by Alembic, never imported: applies revisions over the connection it was handed."""

from alembic import context

# The caller owns the transaction, so that a migration that breaks leaves nothing behind.
context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
