"""HTTP in front of functions: triggers, custom domains, settings of custom runtimes."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

FUNCTIONS = sa.table(
    "functions", sa.column("name"), sa.column("runtime"), sa.column("kept"), sa.column("custom")
)


def upgrade() -> None:
    op.add_column("functions", sa.Column("pre_freeze", sa.Text))
    op.add_column("functions", sa.Column("custom", sa.Text))
    op.add_column("functions", sa.Column("service", sa.Text, nullable=False, server_default=""))
    move_custom_settings()
    op.create_table(
        "triggers",
        sa.Column("function", sa.Text, sa.ForeignKey("functions.name"), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("qualifier", sa.Text, nullable=False),
        sa.Column("config", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source_arn", sa.Text, nullable=False),
        sa.Column("invocation_role", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("methods", sa.Text),
        sa.Column("access", sa.Text),
        sa.Column("cors", sa.Text),
        sa.Column("closed", sa.Boolean),
    )
    op.create_table(
        "custom_domains",
        sa.Column("host", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("protocol", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("routes", sa.Text, nullable=False),
        sa.Column("access", sa.Text, nullable=False),
        sa.Column("auth_info", sa.Text, nullable=False),
        sa.Column("cors", sa.Text),
        sa.Column("certificate", sa.Text),
        sa.Column("tls", sa.Text),
        sa.Column("waf", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("custom_domains")
    op.drop_table("triggers")
    for name in ("service", "custom", "pre_freeze"):
        op.drop_column("functions", name)


def move_custom_settings() -> None:
    """What was kept as `customRuntimeConfig` has effect from now on.

    Only custom runtimes may have it now; with the others it meant nothing, and is dropped.
    """
    connection = op.get_bind()
    found = connection.execute(
        sa.select(FUNCTIONS.c.name, FUNCTIONS.c.runtime, FUNCTIONS.c.kept)
    ).all()
    for name, runtime, text in found:
        kept = json.loads(text)
        sent = kept.pop("customRuntimeConfig", None)
        if sent is None and (not runtime.startswith("custom") or runtime == "custom-container"):
            continue
        custom = json.dumps(settings(sent or {})) if runtime.startswith("custom") else None
        connection.execute(
            sa.update(FUNCTIONS)
            .where(FUNCTIONS.c.name == name)
            .values(kept=json.dumps(kept), custom=custom)
        )


def settings(sent: dict[str, Any]) -> dict[str, Any]:
    return {
        "command": sent.get("command", []),
        "args": sent.get("args", []),
        "port": sent.get("port", 9000),
        "health_check": health_check(sent.get("healthCheckConfig", {})),
    }


def health_check(sent: dict[str, Any]) -> dict[str, Any] | None:
    if not sent.get("httpGetUrl"):
        return None
    return {
        "path": sent["httpGetUrl"],
        "initial_delay_s": sent.get("initialDelaySeconds", 0),
        "period_s": sent.get("periodSeconds", 3),
        "timeout_s": sent.get("timeoutSeconds", 1),
        "failure_threshold": sent.get("failureThreshold", 3),
        "success_threshold": sent.get("successThreshold", 1),
    }
