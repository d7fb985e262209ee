"""The tables of access: who belongs to what, which statements they hold, and the audit log.

A *subject* is whoever can hold policies: a user, a team or a role. Members hold what the teams and roles hold that they are
members of. The ids of all subjects are UUIDs that are never used again, so an id alone says which subject is meant.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from toolkit_client import urn
from toolkit_hub.store.tables import Account, Base, new_id, unique_unless_archived

__all__ = ["AuditEntry", "Data", "Lock", "Membership", "Policy", "PolicyAtom", "Role", "RoleKey", "Team"]


class Team(Base):
    """People who work together. Its members may use its dedicated account."""

    __tablename__ = "teams"
    __table_args__ = (unique_unless_archived("uq_teams_name", "organization_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    name: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
    archived: Mapped[datetime | None]

    account: Mapped[Account] = relationship(lazy="joined")

    @property
    def urn(self) -> str:
        return urn.team_urn(self.organization_id, self.id)


class Role(Base):
    """A set of policies that its members hold. It belongs to an organization, a team or an account: its owner."""

    __tablename__ = "roles"
    __table_args__ = (unique_unless_archived("uq_roles_owner_name", "owner_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    owner_type: Mapped[str] = mapped_column(String(16), doc="organization | team | account")
    owner_id: Mapped[str] = mapped_column(String(36))
    name: Mapped[str] = mapped_column(String(64))
    predefined: Mapped[bool] = mapped_column(default=False, doc="`admin` and `user`: neither renamed nor archived")
    created: Mapped[datetime]
    archived: Mapped[datetime | None]

    @property
    def urn(self) -> str:
        return urn.role_urn(self.organization_id, self.owner_type, self.owner_id, self.id)


class Membership(Base):
    """A member (user, team or role) of a group (team or role).

    Only an inherited one has a role for member: the `admin` role of an account is a member of its child accounts' `admin`
    roles, and that of a team of its dedicated account's.
    """

    __tablename__ = "memberships"
    __table_args__ = (
        UniqueConstraint("group_id", "member_id"),
        Index("ix_memberships_member", "member_id", "group_id"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    group_type: Mapped[str] = mapped_column(String(8), doc="team | role")
    group_id: Mapped[str] = mapped_column(String(36))
    member_type: Mapped[str] = mapped_column(String(8), doc="user | team | role")
    member_id: Mapped[str] = mapped_column(String(36))
    inherited: Mapped[bool] = mapped_column(default=False, doc="follows from the tree of accounts; not removed by hand")
    expires: Mapped[datetime | None]
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(255))


class Policy(Base):
    """A statement that a subject holds."""

    __tablename__ = "policies"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    subject_type: Mapped[str] = mapped_column(String(8), doc="user | team | role")
    subject_id: Mapped[str] = mapped_column(String(36), index=True)
    statement: Mapped[str] = mapped_column(Text, doc="by ids, as `policy.statements` prints it")
    expires: Mapped[datetime | None]
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(255))


class PolicyAtom(Base):
    """One action of one pattern of a statement: what decisions look up. Written and removed with its policy only."""

    __tablename__ = "policy_atoms"
    __table_args__ = (
        Index("ix_policy_atoms_probe", "pattern", "action", "subject_id"),
        Index("ix_policy_atoms_subject", "subject_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    policy_id: Mapped[str] = mapped_column(ForeignKey("policies.id", ondelete="CASCADE"), index=True)
    subject_id: Mapped[str] = mapped_column(String(36))
    action: Mapped[str] = mapped_column(String(64))
    pattern: Mapped[str] = mapped_column(String(255))
    expires: Mapped[datetime | None]


class RoleKey(Base):
    """A long-lived token that acts as a role. Only the hash of the token is kept."""

    __tablename__ = "role_keys"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    role_id: Mapped[str] = mapped_column(ForeignKey("roles.id"), index=True)
    name: Mapped[str] = mapped_column(String(64), default="")
    secret_hash: Mapped[str] = mapped_column(String(64), unique=True, doc="SHA-256 of the token, in hexadecimal")
    expires: Mapped[datetime | None]
    last_used: Mapped[datetime | None]
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(255))
    revoked: Mapped[datetime | None]


class Lock(Base):
    """An emergency brake: while it is there, every decision about the subject, key or job is no."""

    __tablename__ = "locks"

    resource_id: Mapped[str] = mapped_column(String(36), primary_key=True, doc="of a user, role, role key or job")
    resource_type: Mapped[str] = mapped_column(String(8), doc="user | role | key | job")
    urn: Mapped[str] = mapped_column(String(255))
    level: Mapped[str] = mapped_column(
        String(16), doc="organization: only who may lock the whole organization takes it away; owner: the owner may"
    )
    why: Mapped[str] = mapped_column(Text, default="")
    created: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(String(255))


class AuditEntry(Base):
    """What somebody did, was granted or was refused. Rows are only ever added; the database itself refuses the rest."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    time: Mapped[datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(String(255), index=True, doc="full name of who acted, or `toolkit`")
    actor_urn: Mapped[str] = mapped_column(String(255), default="")
    via: Mapped[str] = mapped_column(String(255), default="", doc="URN of the job whose token acted for the actor")
    action: Mapped[str] = mapped_column(String(64))
    urn: Mapped[str] = mapped_column(String(255), index=True)
    outcome: Mapped[str] = mapped_column(String(16), doc="done | refused")
    reason: Mapped[str] = mapped_column(Text, default="", doc="the statement that allowed it, or why it was refused")
    request_id: Mapped[str] = mapped_column(String(64), default="")
    address: Mapped[str] = mapped_column(String(64), default="")
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Data(Base):
    """A named volume of an account."""

    __tablename__ = "data"
    __table_args__ = (unique_unless_archived("uq_data_account_name", "account_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), index=True)
    creator_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str] = mapped_column(String(65))
    created: Mapped[datetime]
    archived: Mapped[datetime | None]

    account: Mapped[Account] = relationship(lazy="joined")

    @property
    def urn(self) -> str:
        return urn.data_urn(self.account.organization_id, self.account_id, self.id)
