"""what runs and their devices have used over time"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

RUN_MEASURES: dict[str, Any] = {
    "cpu": sa.Float(),
    "memory": sa.BigInteger(),
    "disk_read": sa.BigInteger(),
    "disk_write": sa.BigInteger(),
    "net_received": sa.BigInteger(),
    "net_sent": sa.BigInteger(),
}
DEVICE_MEASURES: dict[str, Any] = {"use": sa.Float(), "memory": sa.BigInteger(), "temperature": sa.Float()}


def _pairs(measures: dict[str, Any]) -> list[sa.Column[Any]]:
    names = [(name + suffix, kind) for name, kind in measures.items() for suffix in ("", "_max")]
    return [sa.Column(name, kind, nullable=True) for name, kind in names]


def upgrade() -> None:
    op.create_table(
        "run_samples",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        *_pairs(RUN_MEASURES),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run_id", "step", "at"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device_samples",
        sa.Column("run_id", sa.String(length=36), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("device", sa.String(length=128), nullable=False),
        *_pairs(DEVICE_MEASURES),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"]),
        sa.PrimaryKeyConstraint("run_id", "step", "at", "device"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("device_samples")
    op.drop_table("run_samples")
