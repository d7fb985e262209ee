"""GPUs: which run holds which, and what runs had; preemption"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "device_holds",
        sa.Column("device", sa.String(length=128), nullable=False),
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.PrimaryKeyConstraint("device"),
    )
    op.create_index("ix_device_holds_run_id", "device_holds", ["run_id"])
    op.create_table(
        "room_quotas",
        sa.Column("subject_id", sa.String(length=36), nullable=False),
        sa.Column("subject_type", sa.String(length=16), nullable=False),
        sa.Column("gpus", sa.Integer(), nullable=True),
        sa.Column("cpus", sa.Float(), nullable=True),
        sa.Column("mem", sa.Float(), nullable=True),
        sa.Column("running", sa.Integer(), nullable=True),
        sa.Column("queued", sa.Integer(), nullable=True),
        sa.Column("bid", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("subject_id"),
    )
    op.create_table(
        "account_use",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("used", sa.Float(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("account_id"),
    )
    op.add_column("jobs", sa.Column("gpu", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("devices", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("runs", sa.Column("share", sa.Float(), nullable=True))
    op.add_column("runs", sa.Column("room", sa.JSON(), nullable=True))
    op.add_column("runs", sa.Column("checkpoint", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("stop_by", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("preempted_for", sa.String(length=36), nullable=True))
    op.add_column("runs", sa.Column("lost", sa.Float(), nullable=True))


def downgrade() -> None:
    for column in ("lost", "preempted_for", "stop_by", "checkpoint", "room", "share", "devices"):
        op.drop_column("runs", column)
    op.drop_column("jobs", "gpu")
    for table in ("account_use", "room_quotas", "device_holds"):
        op.drop_table(table)
