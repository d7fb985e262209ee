"""The requests of the REST API about access: organizations, accounts, teams, users, roles, rules, locks, the audit log, data.

Whatever is named (`ref`, `user`, `role` …) is named by id or by full name. A role's full name that fits an account and a team
means the account's, unless `owner` (``account``, ``team`` or ``organization``) says otherwise. What is removed is answered as
it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from toolkit_client.call import Call, body_of, make_call, new_key, page_reader, path_of, reader

if TYPE_CHECKING:
    from toolkit_client.access_models import (
        Account,
        AccountPatch,
        Allowed,
        AuditRecord,
        Data,
        HeldRule,
        Lock,
        Member,
        NewAccount,
        NewData,
        NewLock,
        NewMember,
        NewPolicy,
        NewRole,
        NewRoleKey,
        NewTeam,
        Offboarding,
        Organization,
        Policy,
        RenamePatch,
        Role,
        RoleKey,
        RoleKeySecret,
        RuleAnswer,
        Team,
        UserPatch,
        WhoIsAllowed,
    )
    from toolkit_client.models import Page, User

__all__ = [
    "AUDIT_PAGE_SIZE",
    "add_member",
    "add_policy",
    "archive_account",
    "archive_data",
    "archive_role",
    "archive_team",
    "archive_user",
    "change_account",
    "change_data",
    "change_organization",
    "change_role",
    "change_team",
    "change_user",
    "create_account",
    "create_data",
    "create_key",
    "create_role",
    "create_team",
    "disable_user",
    "enable_user",
    "explain_rule",
    "get_account",
    "get_data",
    "get_organization",
    "get_role",
    "get_team",
    "get_user",
    "is_allowed",
    "list_accounts",
    "list_audit",
    "list_data",
    "list_keys",
    "list_locks",
    "list_members",
    "list_policies",
    "list_roles",
    "list_rules",
    "list_teams",
    "lock",
    "offboard_user",
    "remove_member",
    "remove_policy",
    "revoke_key",
    "unlock",
    "who_is_allowed",
]

_MODELS = "access_models"
#: Entries of the audit log asked for at a time.
AUDIT_PAGE_SIZE = 500
OwnerType: TypeAlias = Literal["organization", "team", "account"]
GroupType: TypeAlias = Literal["role", "team"]
MemberType: TypeAlias = Literal["user", "team"]
SubjectType: TypeAlias = Literal["user", "team", "role"]
LockType: TypeAlias = Literal["user", "role", "key", "job"]


def get_organization(ref: str) -> Call[Organization]:
    return make_call("GET", path_of("organizations", ref), reader("Organization", _MODELS))


def change_organization(ref: str, changes: RenamePatch | Mapping[str, Any]) -> Call[Organization]:
    """`changes` has the JSON keys of what is to be set: ``name``."""
    path = path_of("organizations", ref)
    return make_call("PATCH", path, reader("Organization", _MODELS), json=body_of(changes))


def list_accounts(parent: str | None = None) -> Call[Page[Account]]:
    """All that the caller may see, or the children of one account."""
    return make_call("GET", "/accounts", page_reader("Account", _MODELS), params={"parent": parent})


def create_account(account: NewAccount | Mapping[str, Any], idempotency_key: str | None = None) -> Call[Account]:
    return _create("/accounts", "Account", account, idempotency_key)


def get_account(ref: str) -> Call[Account]:
    return make_call("GET", path_of("accounts", ref), reader("Account", _MODELS))


def change_account(ref: str, changes: AccountPatch | Mapping[str, Any]) -> Call[Account]:
    """`changes` has the JSON keys of what is to be set: ``name``."""
    return make_call("PATCH", path_of("accounts", ref), reader("Account", _MODELS), json=body_of(changes))


def archive_account(ref: str) -> Call[Account]:
    """Hides the account and frees its name; raises `Conflict` while it is in use."""
    return make_call("DELETE", path_of("accounts", ref), reader("Account", _MODELS))


def list_teams() -> Call[Page[Team]]:
    return make_call("GET", "/teams", page_reader("Team", _MODELS))


def create_team(team: NewTeam | Mapping[str, Any], idempotency_key: str | None = None) -> Call[Team]:
    return _create("/teams", "Team", team, idempotency_key)


def get_team(ref: str) -> Call[Team]:
    return make_call("GET", path_of("teams", ref), reader("Team", _MODELS))


def change_team(ref: str, changes: RenamePatch | Mapping[str, Any]) -> Call[Team]:
    """`changes` has the JSON keys of what is to be set: ``name``."""
    return make_call("PATCH", path_of("teams", ref), reader("Team", _MODELS), json=body_of(changes))


def archive_team(ref: str) -> Call[Team]:
    return make_call("DELETE", path_of("teams", ref), reader("Team", _MODELS))


def get_user(ref: str) -> Call[User]:
    return make_call("GET", path_of("users", ref), reader("User"))


def change_user(ref: str, changes: UserPatch | Mapping[str, Any]) -> Call[User]:
    """`changes` has the JSON keys of what is to be set: ``name``."""
    return make_call("PATCH", path_of("users", ref), reader("User"), json=body_of(changes))


def archive_user(ref: str) -> Call[User]:
    """For good: the memberships and policies go, the name is free, what was done stays known."""
    return make_call("DELETE", path_of("users", ref), reader("User"))


def disable_user(ref: str) -> Call[User]:
    """No log-in and no token any more, until `enable_user`."""
    return _ask(path_of("users", ref, "disable"), reader("User"))


def enable_user(ref: str) -> Call[User]:
    return _ask(path_of("users", ref, "enable"), reader("User"))


def offboard_user(ref: str, offboarding: Offboarding | Mapping[str, Any]) -> Call[User]:
    """`offboarding` has the JSON key ``to``: the user who gets the home account with its jobs and data."""
    return _ask(path_of("users", ref, "offboard"), reader("User"), body_of(offboarding))


def list_roles(
    owner_type: OwnerType | None = None, owner: str | None = None, *, account: str | None = None
) -> Call[Page[Role]]:
    """The roles of an organization, team or account; without one all that the caller may see, or those of `account`."""
    read = page_reader("Role", _MODELS)
    if owner_type is not None and owner is not None:
        return make_call("GET", path_of(f"{owner_type}s", owner, "roles"), read)
    return make_call("GET", "/roles", read, params={"account": account})


def create_role(role: NewRole | Mapping[str, Any], idempotency_key: str | None = None) -> Call[Role]:
    return _create("/roles", "Role", role, idempotency_key)


def get_role(ref: str, owner: OwnerType | None = None) -> Call[Role]:
    return make_call("GET", path_of("roles", ref), reader("Role", _MODELS), params={"owner": owner})


def change_role(ref: str, changes: RenamePatch | Mapping[str, Any], owner: OwnerType | None = None) -> Call[Role]:
    """`changes` has the JSON keys of what is to be set: ``name``."""
    path, params = path_of("roles", ref), {"owner": owner}
    return make_call("PATCH", path, reader("Role", _MODELS), params=params, json=body_of(changes))


def archive_role(ref: str, owner: OwnerType | None = None) -> Call[Role]:
    return make_call("DELETE", path_of("roles", ref), reader("Role", _MODELS), params={"owner": owner})


def list_members(group_type: GroupType, ref: str, owner: OwnerType | None = None) -> Call[Page[Member]]:
    """`group_type` is ``role`` or ``team``."""
    path = path_of(f"{group_type}s", ref, "members")
    return make_call("GET", path, page_reader("Member", _MODELS), params={"owner": owner})


def add_member(
    group_type: GroupType, ref: str, member: NewMember | Mapping[str, Any], owner: OwnerType | None = None
) -> Call[Member]:
    """Who is a member already stays one; an expiry that is given replaces the one before."""
    path = path_of(f"{group_type}s", ref, "members")
    return _ask(path, reader("Member", _MODELS), body_of(member), {"owner": owner})


def remove_member(
    group_type: GroupType, ref: str, member_type: MemberType, member: str, owner: OwnerType | None = None
) -> Call[Member]:
    path = path_of(f"{group_type}s", ref, "members", member_type, member)
    return make_call("DELETE", path, reader("Member", _MODELS), params={"owner": owner})


def list_policies(subject_type: SubjectType, ref: str, owner: OwnerType | None = None) -> Call[Page[Policy]]:
    """`subject_type` is ``user``, ``team`` or ``role``."""
    path = path_of(f"{subject_type}s", ref, "policies")
    return make_call("GET", path, page_reader("Policy", _MODELS), params={"owner": owner})


def add_policy(
    subject_type: SubjectType,
    ref: str,
    policy: NewPolicy | Mapping[str, Any],
    owner: OwnerType | None = None,
    idempotency_key: str | None = None,
) -> Call[Policy]:
    """`policy` has the JSON keys ``policy``, the statement, and ``expires``."""
    path = path_of(f"{subject_type}s", ref, "policies")
    return _create(path, "Policy", policy, idempotency_key, {"owner": owner})


def remove_policy(subject_type: SubjectType, ref: str, policy_id: str, owner: OwnerType | None = None) -> Call[Policy]:
    path = path_of(f"{subject_type}s", ref, "policies", policy_id)
    return make_call("DELETE", path, reader("Policy", _MODELS), params={"owner": owner})


def list_keys(role: str, owner: OwnerType | None = None) -> Call[Page[RoleKey]]:
    path = path_of("roles", role, "keys")
    return make_call("GET", path, page_reader("RoleKey", _MODELS), params={"owner": owner})


def create_key(
    role: str,
    key: NewRoleKey | Mapping[str, Any],
    owner: OwnerType | None = None,
    idempotency_key: str | None = None,
) -> Call[RoleKeySecret]:
    """The answer is the only place where the token is ever shown: it is kept as a hash.

    When the answer is lost, the same Idempotency-Key brings `Conflict` with the id of the key, to revoke it.
    """
    return _create(path_of("roles", role, "keys"), "RoleKeySecret", key, idempotency_key, {"owner": owner})


def revoke_key(role: str, key_id: str, owner: OwnerType | None = None) -> Call[RoleKey]:
    path = path_of("roles", role, "keys", key_id)
    return make_call("DELETE", path, reader("RoleKey", _MODELS), params={"owner": owner})


def list_rules(user: str | None = None) -> Call[Page[HeldRule]]:
    """What the caller holds, or another user, whom the caller may attach policies to."""
    return make_call("GET", "/rules", page_reader("HeldRule", _MODELS), params={"user": user})


def is_allowed(rule: str) -> Call[Allowed]:
    """`rule` is ``action@urn``; the answer is about the caller."""
    return make_call("GET", "/rules/allowed", reader("Allowed", _MODELS), params={"rule": rule})


def who_is_allowed(rule: str) -> Call[Page[WhoIsAllowed]]:
    """All users, and roles with living keys, that may do ``action@urn``."""
    return make_call("GET", "/rules/who-is-allowed", page_reader("WhoIsAllowed", _MODELS), params={"rule": rule})


def explain_rule(rule: str, user: str | None = None) -> Call[RuleAnswer]:
    """Why the caller, or another user, may or may not do ``action@urn``."""
    params = {"rule": rule, "user": user}
    return make_call("GET", "/rules/why", reader("RuleAnswer", _MODELS), params=params)


def list_locks() -> Call[Page[Lock]]:
    return make_call("GET", "/locks", page_reader("Lock", _MODELS))


def lock(new: NewLock | Mapping[str, Any]) -> Call[Lock]:
    """`new` has the JSON keys ``type``, ``ref`` and ``why``. What is locked already stays so."""
    return _ask("/locks", reader("Lock", _MODELS), body_of(new))


def unlock(type_: LockType, ref: str) -> Call[Lock]:
    return make_call("DELETE", path_of("locks", type_, ref), reader("Lock", _MODELS))


def list_audit(
    *,
    since: str | None = None,
    until: str | None = None,
    actor: str | None = None,
    urn: str | None = None,
    action: str | None = None,
    outcome: Literal["done", "refused"] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[Page[AuditRecord]]:
    """One page of the audit log, newest first; `since` and `until` are RFC 3339 times."""
    filters = {"since": since, "until": until, "actor": actor, "urn": urn, "action": action, "outcome": outcome}
    params = {**filters, "limit": limit, "cursor": cursor}
    return make_call("GET", "/audit", page_reader("AuditRecord", _MODELS), params=params)


def list_data(account: str | None = None) -> Call[Page[Data]]:
    """All that the caller may see, or those of one account."""
    return make_call("GET", "/data", page_reader("Data", _MODELS), params={"account": account})


def create_data(data: NewData | Mapping[str, Any], idempotency_key: str | None = None) -> Call[Data]:
    return _create("/data", "Data", data, idempotency_key)


def get_data(ref: str) -> Call[Data]:
    """`ref` is an id, a full name, or a bare name in the caller's home account."""
    return make_call("GET", path_of("data", ref), reader("Data", _MODELS))


def change_data(ref: str, changes: RenamePatch | Mapping[str, Any]) -> Call[Data]:
    """`changes` has the JSON keys of what is to be set: ``name``."""
    return make_call("PATCH", path_of("data", ref), reader("Data", _MODELS), json=body_of(changes))


def archive_data(ref: str) -> Call[Data]:
    return make_call("DELETE", path_of("data", ref), reader("Data", _MODELS))


def _create(
    path: str, model: str, body: Any, idempotency_key: str | None, params: Mapping[str, object] | None = None
) -> Call[Any]:
    """Without a key one is made, so that a retry never makes two."""
    read, key = reader(model, _MODELS), idempotency_key or new_key()
    return make_call("POST", path, read, params=params, json=body_of(body), idempotency_key=key)


def _ask(path: str, read: Any, body: Any = None, params: Mapping[str, object] | None = None) -> Call[Any]:
    """A POST that does no more when it comes twice; the key tells the transport that it may send it again."""
    return make_call("POST", path, read, params=params, json=body, idempotency_key=new_key())
