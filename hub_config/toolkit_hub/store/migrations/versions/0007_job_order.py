"""jobs that belong together: children, arrays, and which waits for which"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_arrays",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("creator_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=True),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at_once", sa.Integer(), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_job_arrays_account_name", "job_arrays", ["account_id", "name"])
    # Without foreign keys: SQLite would have to make the table anew for them, with all jobs that there are.
    op.add_column("jobs", sa.Column("parent_id", sa.String(length=36), nullable=True))
    op.add_column("jobs", sa.Column("detached", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("array_id", sa.String(length=36), nullable=True))
    op.add_column("jobs", sa.Column("array_index", sa.Integer(), nullable=True))
    op.create_index("ix_jobs_parent_id", "jobs", ["parent_id"])
    op.create_index("ix_jobs_array_id", "jobs", ["array_id"])
    op.create_table(
        "job_dependencies",
        sa.Column("job_id", sa.String(length=36), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("on_job_id", sa.String(length=36), nullable=True),
        sa.Column("on_array_id", sa.String(length=36), nullable=True),
        sa.Column("condition", sa.String(length=8), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"]),
        sa.ForeignKeyConstraint(["on_job_id"], ["jobs.id"]),
        sa.ForeignKeyConstraint(["on_array_id"], ["job_arrays.id"]),
        sa.PrimaryKeyConstraint("job_id", "position"),
    )
    op.create_index("ix_job_dependencies_on_job_id", "job_dependencies", ["on_job_id"])
    op.create_index("ix_job_dependencies_on_array_id", "job_dependencies", ["on_array_id"])


def downgrade() -> None:
    op.drop_table("job_dependencies")
    op.drop_index("ix_jobs_array_id", "jobs")
    op.drop_index("ix_jobs_parent_id", "jobs")
    for column in ("array_index", "array_id", "detached", "parent_id"):
        op.drop_column("jobs", column)
    op.drop_table("job_arrays")
