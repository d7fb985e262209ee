"""The tables. Ids are UUIDs in text, times are UTC, and what an event says never changes afterwards."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from toolkit_client import urn

__all__ = [
    "Account",
    "AccountUse",
    "Base",
    "Credential",
    "DeviceHold",
    "Event",
    "GateSession",
    "IdempotencyKey",
    "Job",
    "LoginCode",
    "Organization",
    "PulledImage",
    "RoomQuota",
    "Run",
    "User",
    "new_id",
    "unique_unless_archived",
]


def new_id() -> str:
    return str(uuid.uuid4())


class UtcDateTime(TypeDecorator[datetime]):
    """Times with a zone, also on SQLite, which keeps none: stored in UTC, read as UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    type_annotation_map = {datetime: UtcDateTime(), dict[str, Any]: JSON, list[str]: JSON}


def unique_unless_archived(name: str, *columns: str) -> Index:
    """Archiving frees a name."""
    living = text("archived IS NULL")
    return Index(name, *columns, unique=True, sqlite_where=living, postgresql_where=living)


class Organization(Base):
    """The tenant."""

    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime]

    @property
    def urn(self) -> str:
        return self.id


class Account(Base):
    """Owner of jobs and data; a tree below the organization. `full_name` starts with the organization's name."""

    __tablename__ = "accounts"
    __table_args__ = (unique_unless_archived("uq_accounts_full_name", "full_name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    full_name: Mapped[str] = mapped_column(String(512))
    created: Mapped[datetime]
    archived: Mapped[datetime | None]

    @property
    def urn(self) -> str:
        return urn.account_urn(self.organization_id, self.id)


class User(Base):
    """Who acts: a person, or a `service` user that stands for a role at the hub (jobs of a role key have it for owner)."""

    __tablename__ = "users"
    __table_args__ = (unique_unless_archived("uq_users_name", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id"), index=True)
    home_account_id: Mapped[str | None] = mapped_column(
        ForeignKey("accounts.id"), doc="None only for the service user of an organization's role"
    )
    name: Mapped[str] = mapped_column(String(64))
    hub_name: Mapped[str | None] = mapped_column(
        String(64), unique=True, doc="the hub's name of the user now; None when the hub has none"
    )
    kind: Mapped[str] = mapped_column(String(16), default="person", doc="person | service")
    role_id: Mapped[str | None] = mapped_column(String(36), index=True, doc="the role that a service user stands for")
    created: Mapped[datetime]
    disabled: Mapped[datetime | None]
    archived: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship(lazy="joined")
    home_account: Mapped[Account | None] = relationship(lazy="joined")

    @property
    def urn(self) -> str:
        return urn.user_urn(self.organization_id, self.id)

    @property
    def full_name(self) -> str:
        return f"{self.organization.name}.{self.name}"


class Credential(Base):
    """A local password as an argon2id hash. A table of its own, so that no reader of users can come by it."""

    __tablename__ = "credentials"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    password_hash: Mapped[str] = mapped_column(String(256))
    changed: Mapped[datetime]


class Job(Base):
    """What a user submitted. `target` is what its owner wants now, `state` what is."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_account_created", "account_id", "seq"),
        Index("ix_jobs_creator_created", "creator_id", "seq"),
        Index("ix_jobs_state", "state"),
        Index("ix_jobs_account_name", "account_id", "name"),
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), unique=True, doc="order of submission; the cursor of lists"
    )
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    creator_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(16))
    state_info: Mapped[str] = mapped_column(Text, default="")
    target: Mapped[str] = mapped_column(
        String(16), default="run", doc="run | cancel | limit | guard | preempt (to the queue again, or INTERRUPTED)"
    )
    kind: Mapped[str] = mapped_column(String(16), default="job", doc="job | server (a user's own server)")
    interactive: Mapped[bool] = mapped_column(default=False)
    cpu: Mapped[float] = mapped_column(Float)
    gpu: Mapped[int] = mapped_column(Integer, default=0, doc="whole GPUs; which ones: resources of the spec")
    mem: Mapped[float] = mapped_column(Float, doc="GiB")
    image: Mapped[str] = mapped_column(String(512))
    image_digest: Mapped[str | None] = mapped_column(
        String(255), doc="what the reference meant at submit, if known then"
    )
    preemptable: Mapped[bool] = mapped_column(default=False)
    restartable: Mapped[bool] = mapped_column(default=False)
    bid: Mapped[int] = mapped_column(Integer, default=0)
    max_run_time: Mapped[int] = mapped_column(Integer, default=0, doc="seconds a run may take; 0 = no limit")
    tags: Mapped[list[Any]] = mapped_column(JSON, default=list)
    retry_of: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), doc="the job that this one repeats")
    role_id: Mapped[str | None] = mapped_column(String(36), doc="the role whose rights the job's own token has")
    carries_rights: Mapped[bool] = mapped_column(
        default=False, doc="its token acts as its creator, so nobody else may run code in it; never changed"
    )
    parent_id: Mapped[str | None] = mapped_column(String(36), index=True, doc="the job that submitted it")
    detached: Mapped[bool] = mapped_column(default=False, doc="goes on when its parent has ended")
    array_id: Mapped[str | None] = mapped_column(String(36), index=True, doc="the array that it is an element of")
    array_index: Mapped[int | None] = mapped_column(Integer)
    spec: Mapped[dict[str, Any]] = mapped_column(doc="the JobSpec as submitted, defaults filled in")
    created: Mapped[datetime]

    account: Mapped[Account] = relationship(lazy="joined")
    creator: Mapped[User] = relationship(lazy="joined")
    runs: Mapped[list[Run]] = relationship(back_populates="job", order_by="Run.index", lazy="selectin")

    @property
    def urn(self) -> str:
        return urn.job_urn(self.account.organization_id, self.account_id, self.id)


class Run(Base):
    """One start of a job, and the JupyterHub named server that stands for it."""

    __tablename__ = "runs"
    __table_args__ = (Index("ix_runs_state", "state"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), index=True)
    index: Mapped[int] = mapped_column(Integer)
    server_name: Mapped[str] = mapped_column(String(30), unique=True)
    owner: Mapped[str] = mapped_column(String(64), doc="the hub's name of the server's owner")
    state: Mapped[str] = mapped_column(String(16))
    state_info: Mapped[str] = mapped_column(Text, default="")
    secret: Mapped[str] = mapped_column(
        String(64), doc="what the job server accepts; goes to the container and the gate only"
    )
    container_id: Mapped[str | None] = mapped_column(String(64))
    ip: Mapped[str | None] = mapped_column(String(45))
    node_name: Mapped[str | None] = mapped_column(String(255))
    image_digest: Mapped[str | None] = mapped_column(String(255))
    exit_code: Mapped[int | None]
    peak_memory: Mapped[int | None] = mapped_column(BigInteger, doc="bytes")
    devices: Mapped[list[str]] = mapped_column(
        JSON, default=list, doc="UUIDs of the GPUs that it had from its admission on"
    )
    share: Mapped[float | None] = mapped_column(Float, doc="how much of the whole site it was given, from 0 to 1")
    room: Mapped[dict[str, Any] | None] = mapped_column(
        JSON, doc="while it waits: the place that others are being stopped for, as `node` and `devices`"
    )
    checkpoint: Mapped[datetime | None] = mapped_column(doc="when it last said that its work was saved")
    stop_by: Mapped[datetime | None] = mapped_column(doc="when one that is stopped for another run is ended by force")
    preempted_for: Mapped[str | None] = mapped_column(String(36), doc="the run that needed its room")
    lost: Mapped[float | None] = mapped_column(
        Float, doc="seconds of work since its last checkpoint, when it was preempted"
    )
    deadline: Mapped[datetime | None] = mapped_column(doc="when the time limit ends it")
    warned: Mapped[datetime | None] = mapped_column(doc="when its user was told that the time limit comes near")
    log_removed: Mapped[datetime | None] = mapped_column(doc="when its log was removed by retention")
    server_removed: Mapped[bool] = mapped_column(default=False, doc="the hub has forgotten the ended server")
    created: Mapped[datetime]
    queued: Mapped[datetime | None]
    started: Mapped[datetime | None]
    ended: Mapped[datetime | None]
    cancelled: Mapped[datetime | None]

    job: Mapped[Job] = relationship(back_populates="runs", lazy="joined")


class DeviceHold(Base):
    """A GPU and the run that holds it. The primary key is what keeps a second run from it, whatever the planner thinks."""

    __tablename__ = "device_holds"

    device: Mapped[str] = mapped_column(String(128), primary_key=True, doc="UUID")
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    since: Mapped[datetime]


class RoomQuota(Base):
    """What the jobs of one user, account (with the accounts below it) or organization may hold at once. None: no limit."""

    __tablename__ = "room_quotas"

    subject_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    subject_type: Mapped[str] = mapped_column(String(16), doc="user | account | organization")
    gpus: Mapped[int | None]
    cpus: Mapped[float | None] = mapped_column(Float)
    mem: Mapped[float | None] = mapped_column(Float, doc="GiB")
    running: Mapped[int | None] = mapped_column(Integer, doc="jobs that have been given their room")
    queued: Mapped[int | None] = mapped_column(Integer, doc="jobs that wait")
    bid: Mapped[int | None] = mapped_column(Integer, doc="the highest bid of a job")


class AccountUse(Base):
    """What an account has used of the site of late, for fair share: old use fades."""

    __tablename__ = "account_use"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    used: Mapped[float] = mapped_column(Float, doc="seconds of the whole site, as of `as_of`")
    as_of: Mapped[datetime]
    weight: Mapped[float] = mapped_column(Float, default=1.0, doc="what the account is due, against others")


class Event(Base):
    """What happened, in order. The newest `seq` is the store's change counter."""

    __tablename__ = "events"

    seq: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True)
    time: Mapped[datetime]
    type: Mapped[str] = mapped_column(String(64))
    urn: Mapped[str] = mapped_column(String(255), index=True)
    actor: Mapped[str] = mapped_column(String(255))
    request_id: Mapped[str] = mapped_column(String(64), default="")
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)

    __mapper_args__ = {"eager_defaults": True}


class PulledImage(Base):
    """A reference that the toolkit itself pulled. Clean-up may take these away again, and no others."""

    __tablename__ = "pulled_images"

    reference: Mapped[str] = mapped_column(String(512), primary_key=True)
    image_id: Mapped[str] = mapped_column(String(255), doc="what the reference meant when it was pulled")
    pulled: Mapped[datetime]


class IdempotencyKey(Base):
    """A POST that was carried out: the same key again gets the same answer."""

    __tablename__ = "idempotency_keys"

    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    resource_id: Mapped[str] = mapped_column(String(36))
    created: Mapped[datetime]


class LoginCode(Base):
    """One way into a job host, once: from the service's log-in to the gate, bound to one browser and one job."""

    __tablename__ = "login_codes"

    code_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    host: Mapped[str] = mapped_column(String(255))
    state_hash: Mapped[str] = mapped_column(String(64))
    expires: Mapped[datetime]


class GateSession(Base):
    """A browser that has come in at one job host. Ended by log-out, by age, or by the policy at any request."""

    __tablename__ = "gate_sessions"

    key_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    host: Mapped[str] = mapped_column(String(255))
    expires: Mapped[datetime]
