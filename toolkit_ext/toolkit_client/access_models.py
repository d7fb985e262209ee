"""The wire models of access: accounts, teams, roles, members, policies, keys, rules, locks, data, the audit log.

Where a request names a user, team, account or role, it takes an id or a full name (``acme.alice``).
Expiries are RFC 3339 times in UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from toolkit_client.job_spec import JobName
from toolkit_client.wire import WireModel

__all__ = [
    "Account",
    "AccountPatch",
    "Allowed",
    "AuditRecord",
    "Data",
    "DataHostAddress",
    "DataPatch",
    "HeldRule",
    "Lock",
    "Member",
    "NewAccount",
    "NewData",
    "NewLock",
    "NewMember",
    "NewPolicy",
    "NewRole",
    "NewRoleKey",
    "NewTeam",
    "Offboarding",
    "Organization",
    "Policy",
    "Proof",
    "ProofStep",
    "RenamePatch",
    "Role",
    "RoleKey",
    "RoleKeySecret",
    "RuleAnswer",
    "Team",
    "UserPatch",
    "WhoIsAllowed",
]

Reference = Annotated[str, StringConstraints(min_length=1, max_length=600)]
#: A full name (``acme.joe.x``), or a bare name where a place for it is known.
FullName = Annotated[str, StringConstraints(min_length=1, max_length=600, pattern=r"^[a-z0-9._-]+$")]
Why = Annotated[str, StringConstraints(max_length=500)]


class Organization(WireModel):
    """The tenant."""

    id: str
    urn: str
    name: str
    created: datetime


class RenamePatch(WireModel):
    """A new name; the id, and with it every right, stays."""

    name: JobName | None = None


class Account(WireModel):
    """Owner of jobs, data, roles and child accounts."""

    id: str
    urn: str
    name: str
    full_name: str
    organization: str = Field(description="name of the organization")
    parent: str | None = Field(default=None, description="full name of the account above; of none: the organization's")
    created: datetime
    archived: datetime | None = None


class NewAccount(WireModel):
    """`name` is the full name; what comes before the last dot has to be there already."""

    name: FullName


AccountPatch = RenamePatch


class Team(WireModel):
    """People who work together, with an account of their own."""

    id: str
    urn: str
    name: str
    full_name: str
    organization: str
    account: str = Field(description="full name of the team's dedicated account")
    account_id: str
    created: datetime
    archived: datetime | None = None


class NewTeam(WireModel):
    """`name` with or without the organization before it."""

    name: FullName


class UserPatch(WireModel):
    """What is changed of a user."""

    name: JobName | None = None


class Offboarding(WireModel):
    """`to` is the user who gets the home account, with its jobs and data."""

    to: Reference


class Role(WireModel):
    """What its members hold together."""

    id: str
    urn: str
    name: str
    full_name: str
    organization: str
    parent: str = Field(description="full name of what it belongs to: an account, a team or the organization")
    parent_type: Literal["organization", "team", "account"]
    predefined: bool = False
    created: datetime
    archived: datetime | None = None
    locked: bool = False


class NewRole(WireModel):
    """`name` is the full name, as ``acme.joe.reader``; `policies` are attached at once, all or none."""

    name: FullName
    owner_type: Literal["organization", "team", "account"] | None = Field(
        default=None, description="where the name fits several: which is meant"
    )
    policies: list[Annotated[str, StringConstraints(max_length=200_000)]] = Field(default_factory=list, max_length=50)


class Member(WireModel):
    """Of a team or a role."""

    id: str
    name: str = Field(description="bare name; of an inherited role its full name")
    full_name: str
    type: Literal["user", "team", "role"]
    inherited: bool = Field(default=False, description="follows from the tree of accounts, and is not removed by hand")
    expires: datetime | None = None
    created: datetime


class NewMember(WireModel):
    """Exactly one of `user` and `team`."""

    user: Reference | None = None
    team: Reference | None = None
    expires: datetime | None = None


class Policy(WireModel):
    """A statement that a user, team or role holds."""

    id: str
    policy: str = Field(description="the statement, by ids")
    named: str = Field(default="", description="the statement with names in the place of ids, to be read")
    expires: datetime | None = None
    created: datetime
    created_by: str = ""


class NewPolicy(WireModel):
    """`policy` is ``action[+action…]@urn[+urn…]``; names in its URNs are resolved now, to ids."""

    policy: Annotated[str, StringConstraints(min_length=1, max_length=200_000)]
    expires: datetime | None = None


class RoleKey(WireModel):
    """A long-lived token that acts as the role; the token itself is shown once, when it is made."""

    id: str
    name: str = ""
    role: str = Field(description="full name of the role")
    expires: datetime | None = None
    last_used: datetime | None = None
    created: datetime
    created_by: str = ""
    locked: bool = False


class RoleKeySecret(RoleKey):
    """A key that was just made."""

    token: str = Field(repr=False)


class NewRoleKey(WireModel):
    name: Annotated[str, StringConstraints(max_length=64, pattern=r"^[ -~]*$")] = ""
    expires: datetime | None = None


class HeldRule(WireModel):
    """One action on one URN pattern that a user holds, and by what."""

    action: str
    expression: str
    named: str = Field(default="", description="the pattern with names in the place of ids")
    via: str = Field(default="", description="the user, team or role whose policy it is")
    policy_id: str = ""
    expires: datetime | None = None


class Allowed(WireModel):
    """The bare answer."""

    allowed: bool


class WhoIsAllowed(WireModel):
    """One who may, and by what."""

    type: Literal["user", "role"]
    name: str = Field(description="full name")
    id: str
    via: str = Field(description="the shortest path: user, the groups between, and the policy's holder")


class ProofStep(WireModel):
    """One membership on the way from the subject to the policy's holder."""

    type: str
    name: str
    id: str
    expires: datetime | None = None


class Proof(WireModel):
    """Why it is allowed: the subject, the groups it is in, and the statement that the last one holds."""

    path: list[ProofStep]
    statement: str
    named: str = ""
    policy_id: str = ""
    expires: datetime | None = None


class RuleAnswer(WireModel):
    """The answer to ``who may, and why?`` for one subject."""

    allowed: bool
    subject: str = Field(description="full name of who was asked about")
    action: str
    urn: str
    named: str = Field(default="", description="the URN with names in the place of ids")
    reason: str = Field(default="", description="for a no: why, in words")
    proofs: list[Proof] = Field(default_factory=list, description="for a yes: each way, the shortest first")
    nearest: list[Proof] = Field(default_factory=list, description="for a no: the statements that come closest")
    grantors: list[str] = Field(default_factory=list, description="for a no: full names of users who could grant it")
    smallest: str = Field(default="", description="for a no: the smallest statement that would allow it")


class NewLock(WireModel):
    """`ref` names the user, role, key or job, by id or full name."""

    type: Literal["user", "role", "key", "job"]
    ref: Reference
    why: Why = ""


class Lock(WireModel):
    """While it is there, every decision about the resource is no."""

    resource_id: str
    type: Literal["user", "role", "key", "job"]
    name: str = Field(description="full name, of a key its id")
    urn: str
    why: str = ""
    created: datetime
    created_by: str


class AuditRecord(WireModel):
    """What somebody did, was granted or was refused."""

    seq: int
    time: datetime
    actor: str
    via: str = Field(default="", description="URN of the job whose token acted for the actor")
    action: str
    urn: str
    outcome: Literal["done", "refused"]
    reason: str = ""
    request_id: str = ""
    address: str = ""
    data: dict[str, Any] = Field(default_factory=dict)


class Data(WireModel):
    """A named volume."""

    id: str
    urn: str
    name: str
    full_name: str
    account: str
    account_id: str
    creator: str
    created: datetime
    archived: datetime | None = None


class DataPatch(RenamePatch):
    """A new name, which may begin with a dot."""

    name: Annotated[str, StringConstraints(pattern=r"^\.?[a-z0-9_-]{1,64}$")] | None = None


class DataHostAddress(WireModel):
    """Where the content of data goes in and out. With TLS it is a host of its own below the jobs' domain."""

    url: str


class NewData(WireModel):
    """`name` is a full name (``acme.joe.images``) or a bare one in `account`, which is the caller's home account if absent.

    An account with a dot behind it (``acme.joe.``) makes data that is named by the first characters of its id.
    """

    name: Annotated[str, StringConstraints(min_length=1, max_length=600, pattern=r"^[a-z0-9._-]+$")]
    account: Reference | None = None
