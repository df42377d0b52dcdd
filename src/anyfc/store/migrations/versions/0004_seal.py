"""Secrets are encrypted: environments, credentials of triggers and domains, private keys."""

from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

from anyfc.store.tables import seal_of

revision = "0004"
down_revision = "0003"

# Table → its key, and what is sealed.
SEALED = {
    "functions": (("name",), ("environment", "kept")),
    "services": (("name",), ("kept",)),
    "triggers": (("function", "name"), ("config", "access")),
    "custom_domains": (("host",), ("access", "auth_info", "certificate")),
}


def upgrade() -> None:
    rewrite(seal_of(op.get_bind().dialect).close)


def downgrade() -> None:
    rewrite(seal_of(op.get_bind().dialect).open)


def rewrite(change: Callable[[str], str]) -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        # What is overwritten does not stay in the free space of the file.
        connection.exec_driver_sql("PRAGMA secure_delete = ON")
    for name, (key, sealed) in SEALED.items():
        table = sa.table(name, *[sa.column(column, sa.Text) for column in (*key, *sealed)])
        for row in connection.execute(sa.select(table)).mappings().all():
            values = {column: change(row[column]) for column in sealed if row[column] is not None}
            here = [table.c[column] == row[column] for column in key]
            connection.execute(sa.update(table).where(*here).values(values))
