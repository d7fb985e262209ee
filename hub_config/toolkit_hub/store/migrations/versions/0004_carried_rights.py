"""jobs: whether one carries its creator's rights; audit log: by which job somebody acted"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("carries_rights", sa.Boolean(), nullable=False, server_default=sa.false()))
    # Others may be in interactive jobs of before; in users' own servers nobody ever was.
    op.execute("UPDATE jobs SET carries_rights = (kind = 'server')")
    op.add_column("audit_log", sa.Column("via", sa.String(length=255), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("audit_log", "via")
    op.drop_column("jobs", "carries_rights")
