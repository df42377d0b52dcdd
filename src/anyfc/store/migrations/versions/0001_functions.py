"""Functions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "functions",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("runtime", sa.Text, nullable=False),
        sa.Column("handler", sa.Text, nullable=False),
        sa.Column("code", sa.Text),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("timeout_s", sa.Integer, nullable=False),
        sa.Column("memory_mib", sa.Integer, nullable=False),
        sa.Column("cpu", sa.Double, nullable=False),
        sa.Column("disk_mib", sa.Integer, nullable=False),
        sa.Column("instance_concurrency", sa.Integer, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("initializer", sa.Text),
        sa.Column("pre_stop", sa.Text),
        sa.Column("log_project", sa.Text, nullable=False),
        sa.Column("log_store", sa.Text, nullable=False),
        sa.Column("idle_timeout_s", sa.Integer),
        sa.Column("restriction", sa.Text),
        sa.Column("kept", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("functions")
