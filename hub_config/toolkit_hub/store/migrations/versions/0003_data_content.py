"""data: its versions, how much it takes, quotas, and where jobs mount it"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLES = ["data_versions", "data_usage", "data_quotas", "job_mounts"]


def upgrade() -> None:
    op.create_table(
        "data_versions",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("data_id", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["data_id"], ["data.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("data_id", "number", name="uq_data_versions_number"),
    )
    op.create_table(
        "data_usage",
        sa.Column("data_id", sa.String(length=36), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("disk", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("inodes", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True),
        sa.Column("added_disk", sa.BigInteger(), nullable=False),
        sa.Column("added_inodes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["data_id"], ["data.id"]),
        sa.PrimaryKeyConstraint("data_id"),
    )
    op.create_table(
        "data_quotas",
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.PrimaryKeyConstraint("account_id"),
    )
    op.create_table(
        "job_mounts",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("data_id", sa.String(length=36), nullable=False),
        sa.Column("version_id", sa.String(length=36), nullable=True),
        sa.Column("subpath", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("writable", sa.Boolean(), nullable=False),
        sa.Column("subject_type", sa.String(length=8), nullable=False),
        sa.Column("subject_id", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.ForeignKeyConstraint(["data_id"], ["data.id"]),
        sa.PrimaryKeyConstraint("job_id", "position"),
    )
    op.create_index("ix_job_mounts_data_id", "job_mounts", ["data_id"])
    op.create_index("ix_job_mounts_version_id", "job_mounts", ["version_id"])


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
