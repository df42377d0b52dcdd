"""Services, in which functions are made with an API before 3.0."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "services",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("log_project", sa.Text, nullable=False),
        sa.Column("log_store", sa.Text, nullable=False),
        sa.Column("kept", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("services")
