"""Alembic revisions, oldest first. They describe history: they import nothing of ours."""
