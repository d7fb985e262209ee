"""access: teams, roles, memberships, policies, keys, locks, the audit log, data; what users had until now, as policies"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from toolkit_hub.store import append_only

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

LIVING = sa.text("archived IS NULL")
TABLES = ["roles", "teams", "memberships", "policies", "policy_atoms", "role_keys", "locks", "audit_log", "data"]


def upgrade() -> None:
    _create_roles()
    _create_teams()
    _create_memberships()
    _create_policies()
    _create_policy_atoms()
    _create_role_keys()
    _create_locks()
    _create_audit_log()
    _create_data()
    administrators = _ids("SELECT id FROM users WHERE admin")
    _change_accounts_and_jobs()
    _change_users()
    op.execute("UPDATE users SET hub_name = name")
    Defaults().write(administrators)


def downgrade() -> None:
    """Who was a member of an organization's `admin` role by themselves is an administrator again; all else is lost."""
    administrators = _ids(
        "SELECT m.member_id FROM memberships m JOIN roles r ON r.id = m.group_id"
        " WHERE r.owner_type = 'organization' AND r.predefined AND r.name = 'admin'"
    )
    _change_users_back(administrators)
    _change_accounts_and_jobs_back()
    append_only.unprotect(op.get_bind())
    for table in reversed(TABLES):
        op.drop_table(table)


def _create_roles() -> None:
    op.create_table(
        "roles",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("owner_type", sa.String(length=16), nullable=False),
        sa.Column("owner_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("predefined", sa.Boolean(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_roles_organization_id", "roles", ["organization_id"])
    _unique_while_living("uq_roles_owner_name", "roles", "owner_id", "name")


def _create_teams() -> None:
    op.create_table(
        "teams",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("organization_id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.ForeignKeyConstraint(["organization_id"], ["organizations.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_teams_organization_id", "teams", ["organization_id"])
    _unique_while_living("uq_teams_name", "teams", "organization_id", "name")


def _create_memberships() -> None:
    op.create_table(
        "memberships",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("group_type", sa.String(length=8), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("member_type", sa.String(length=8), nullable=False),
        sa.Column("member_id", sa.String(length=36), nullable=False),
        sa.Column("inherited", sa.Boolean(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("group_id", "member_id"),
    )
    op.create_index("ix_memberships_member", "memberships", ["member_id", "group_id"])


def _create_policies() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("subject_type", sa.String(length=8), nullable=False),
        sa.Column("subject_id", sa.String(length=36), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_policies_subject_id", "policies", ["subject_id"])


def _create_policy_atoms() -> None:
    op.create_table(
        "policy_atoms",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("policy_id", sa.String(length=36), nullable=False),
        sa.Column("subject_id", sa.String(length=36), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("pattern", sa.String(length=255), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_policy_atoms_policy_id", "policy_atoms", ["policy_id"])
    op.create_index("ix_policy_atoms_probe", "policy_atoms", ["pattern", "action", "subject_id"])
    op.create_index("ix_policy_atoms_subject", "policy_atoms", ["subject_id"])


def _create_role_keys() -> None:
    op.create_table(
        "role_keys",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("role_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("secret_hash", sa.String(length=64), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_hash"),
    )
    op.create_index("ix_role_keys_role_id", "role_keys", ["role_id"])


def _create_locks() -> None:
    op.create_table(
        "locks",
        sa.Column("resource_id", sa.String(length=36), nullable=False),
        sa.Column("resource_type", sa.String(length=8), nullable=False),
        sa.Column("urn", sa.String(length=255), nullable=False),
        sa.Column("level", sa.String(length=16), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("resource_id"),
    )


def _create_audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.String(length=255), nullable=False),
        sa.Column("actor_urn", sa.String(length=255), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("urn", sa.String(length=255), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_audit_log_actor", "audit_log", ["actor"])
    op.create_index("ix_audit_log_time", "audit_log", ["time"])
    op.create_index("ix_audit_log_urn", "audit_log", ["urn"])


def _create_data() -> None:
    op.create_table(
        "data",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("account_id", sa.String(length=36), nullable=False),
        sa.Column("creator_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=65), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("archived", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"]),
        sa.ForeignKeyConstraint(["creator_id"], ["users.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_data_account_id", "data", ["account_id"])
    _unique_while_living("uq_data_account_name", "data", "account_id", "name")
    append_only.protect(op.get_bind())


def _change_accounts_and_jobs() -> None:
    with op.batch_alter_table("accounts", naming_convention=NAMING) as batch_op:
        batch_op.add_column(sa.Column("archived", sa.DateTime(timezone=True), nullable=True))
        batch_op.drop_constraint(_unique("accounts", "full_name"), type_="unique")
    _unique_while_living("uq_accounts_full_name", "accounts", "full_name")
    op.add_column("jobs", sa.Column("role_id", sa.String(length=36), nullable=True))


def _change_users() -> None:
    with op.batch_alter_table("users", naming_convention=NAMING) as batch_op:
        batch_op.add_column(sa.Column("hub_name", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("kind", sa.String(length=16), nullable=False, server_default="person"))
        batch_op.add_column(sa.Column("role_id", sa.String(length=36), nullable=True))
        batch_op.add_column(sa.Column("disabled", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("archived", sa.DateTime(timezone=True), nullable=True))
        batch_op.alter_column("home_account_id", existing_type=sa.String(length=36), nullable=True)
        batch_op.drop_constraint(_unique("users", "name"), type_="unique")
        batch_op.create_unique_constraint("users_hub_name_key", ["hub_name"])
        batch_op.drop_column("admin")
    op.create_index("ix_users_role_id", "users", ["role_id"])
    _unique_while_living("uq_users_name", "users", "name")


def _change_accounts_and_jobs_back() -> None:
    op.drop_column("jobs", "role_id")
    op.drop_index("uq_accounts_full_name", "accounts")
    with op.batch_alter_table("accounts") as batch_op:
        batch_op.drop_column("archived")
        batch_op.create_unique_constraint("accounts_full_name_key", ["full_name"])


def _change_users_back(administrators: list[str]) -> None:
    op.execute("DELETE FROM users WHERE kind = 'service'")
    op.drop_index("uq_users_name", "users")
    op.drop_index("ix_users_role_id", "users")
    with op.batch_alter_table("users") as batch_op:
        batch_op.add_column(sa.Column("admin", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.alter_column("home_account_id", existing_type=sa.String(length=36), nullable=False)
        batch_op.drop_constraint("users_hub_name_key", type_="unique")
        for column in ("hub_name", "kind", "role_id", "disabled", "archived"):
            batch_op.drop_column(column)
        batch_op.create_unique_constraint("users_name_key", ["name"])
    users = sa.table("users", sa.column("id"), sa.column("admin", sa.Boolean()))
    op.execute(users.update().where(users.c.id.in_(administrators)).values(admin=True))


#: SQLite's constraints of the first tables have no names; PostgreSQL made these up by itself.
NAMING = {"uq": "%(table_name)s_%(column_0_name)s_key"}


def _unique(table: str, column: str) -> str:
    return f"{table}_{column}_key"


def _unique_while_living(name: str, table: str, *columns: str) -> None:
    op.create_index(name, table, list(columns), unique=True, sqlite_where=LIVING, postgresql_where=LIVING)


def _ids(query: str) -> list[str]:
    return list(op.get_bind().execute(sa.text(query)).scalars())


# --- what organizations, accounts and users have from the start -------------------------------------------------------

_AUTHOR = "toolkit"


class Defaults:
    """Gives every organization, account and user of before the roles and policies that new ones get."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)
        self.roles: list[dict[str, Any]] = []
        self.memberships: list[dict[str, Any]] = []
        self.policies: list[dict[str, Any]] = []
        self.atoms: list[dict[str, Any]] = []

    def write(self, administrators: Iterable[str]) -> None:
        connection = op.get_bind()
        organizations = connection.execute(sa.text("SELECT id FROM organizations ORDER BY created, id")).scalars().all()
        accounts = connection.execute(
            sa.text("SELECT id, organization_id, parent_id FROM accounts ORDER BY created, id")
        )
        users = connection.execute(
            sa.text("SELECT id, organization_id, home_account_id FROM users ORDER BY created, id")
        )
        groups = {id_: self.organization(id_) for id_ in organizations}
        children = []
        for account, organization, parent in accounts.all():
            groups[account] = self.account(organization, account)
            if parent is not None:
                children.append((account, parent))
        for account, parent in children:
            self.member(groups[account]["admin"], "role", groups[parent]["admin"], inherited=True)
        chosen = set(administrators)
        for user, organization, home in users.all():
            self.policy("user", user, "user:set", f"{organization}:user:{user}")
            if user in chosen:
                self.member(groups[organization]["admin"], "user", user)
            self.member(groups[organization]["user"], "user", user)
            self.member(groups[home]["admin"], "user", user)
        for table, rows in (
            ("roles", self.roles),
            ("memberships", self.memberships),
            ("policies", self.policies),
            ("policy_atoms", self.atoms),
        ):
            if rows:
                op.bulk_insert(_table(table, rows[0]), rows)

    def organization(self, id_: str) -> dict[str, str]:
        admin, user = (self.role(id_, "organization", id_, name) for name in ("admin", "user"))
        self.policy("role", admin, "*", f"{id_}+{id_}:*")
        self.policy("role", user, "*:get", f"{id_}+{id_}:user:*+{id_}:team:*")
        return {"admin": admin, "user": user}

    def account(self, organization: str, id_: str) -> dict[str, str]:
        admin, user = (self.role(organization, "account", id_, name) for name in ("admin", "user"))
        urn = f"{organization}:account:{id_}"
        self.policy("role", admin, "*", f"{urn}+{urn}:*")
        self.policy("role", user, "account:get+job:new+data:new", urn)
        self.policy("role", user, "job:get+job:set+job:exec+data:get+data:set+role:get", f"{urn}:*")
        return {"admin": admin, "user": user}

    def role(self, organization: str, owner_type: str, owner: str, name: str) -> str:
        id_ = str(uuid.uuid4())
        self.roles.append(
            {
                "id": id_,
                "organization_id": organization,
                "owner_type": owner_type,
                "owner_id": owner,
                "name": name,
                "predefined": True,
                "created": self.now,
            }
        )
        return id_

    def member(self, role: str, member_type: str, member: str, *, inherited: bool = False) -> None:
        group = {"id": str(uuid.uuid4()), "group_type": "role", "group_id": role}
        who = {"member_type": member_type, "member_id": member, "inherited": inherited}
        self.memberships.append({**group, **who, "created": self.now, "created_by": _AUTHOR})

    def policy(self, subject_type: str, subject: str, actions: str, patterns: str) -> None:
        policy = {
            "id": str(uuid.uuid4()),
            "subject_type": subject_type,
            "subject_id": subject,
            "statement": f"{actions}@{patterns}",
            "created": self.now,
            "created_by": _AUTHOR,
        }
        self.policies.append(policy)
        for action in actions.split("+"):
            for pattern in patterns.split("+"):
                self.atoms.append(
                    {"policy_id": policy["id"], "subject_id": subject, "action": action, "pattern": pattern}
                )


def _table(name: str, row: dict[str, Any]) -> sa.TableClause:
    types: dict[str, Any] = {
        "created": sa.DateTime(timezone=True),
        "predefined": sa.Boolean(),
        "inherited": sa.Boolean(),
    }
    return sa.table(name, *(sa.column(column, types.get(column)) for column in row))
