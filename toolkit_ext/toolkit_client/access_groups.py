"""The parts of `Client` that are about access, as `client.roles`."""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from toolkit_client import access_calls, calls, data_calls

if TYPE_CHECKING:
    from datetime import datetime

    from toolkit_client.access_calls import GroupType, LockType, OwnerType, SubjectType
    from toolkit_client.access_models import (
        Account,
        AccountPatch,
        AuditRecord,
        Data,
        HeldRule,
        Lock,
        Member,
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
    from toolkit_client.client import Client
    from toolkit_client.data_models import Commit, DataSize, DataVersion, Quota, QuotaPatch, RoomQuotaPatch
    from toolkit_client.models import NewUser, User

__all__ = ["Accounts", "Audit", "DataSets", "Locks", "Organizations", "Quotas", "Roles", "Rules", "Teams", "Users"]


class Group:
    """What all groups share."""

    def __init__(self, client: Client) -> None:
        self._client = client


class WithPolicies(Group):
    """Users, teams and roles: whoever holds policies."""

    subject_type: ClassVar[SubjectType]

    def policies(self, ref: str) -> builtins.list[Policy]:
        return (self._client.call(access_calls.list_policies(self.subject_type, ref))).items

    def add_policy(self, ref: str, policy: str, *, expires: datetime | None = None) -> Policy:
        """`policy` is a statement, ``action[+action…]@urn[+urn…]``; names in its URNs are resolved now, to ids."""
        body = {"policy": policy, "expires": _time(expires)}
        return self._client.call(access_calls.add_policy(self.subject_type, ref, body))

    def remove_policy(self, ref: str, policy_id: str) -> Policy:
        return self._client.call(access_calls.remove_policy(self.subject_type, ref, policy_id))


class WithMembers(WithPolicies):
    """Teams and roles."""

    group_type: ClassVar[GroupType]

    def members(self, ref: str) -> builtins.list[Member]:
        return (self._client.call(access_calls.list_members(self.group_type, ref))).items

    def add_member(
        self, ref: str, *, user: str | None = None, team: str | None = None, expires: datetime | None = None
    ) -> Member:
        """Exactly one of `user` and `team`. Who is a member stays one; an expiry replaces the one before."""
        body = {"user": user, "team": team, "expires": _time(expires)}
        given = {key: value for key, value in body.items() if value is not None}
        return self._client.call(access_calls.add_member(self.group_type, ref, given))

    def remove_user(self, ref: str, user: str) -> Member:
        return self._client.call(access_calls.remove_member(self.group_type, ref, "user", user))

    def remove_team(self, ref: str, team: str) -> Member:
        return self._client.call(access_calls.remove_member(self.group_type, ref, "team", team))


class Organizations(Group):
    """``client.organizations``."""

    def get(self, ref: str) -> Organization:
        return self._client.call(access_calls.get_organization(ref))

    def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Organization:
        return self._client.call(access_calls.change_organization(ref, changes))


class Accounts(Group):
    """``client.accounts``."""

    def list(self, parent: str | None = None) -> builtins.list[Account]:
        """All that the caller may see, or the children of one account."""
        return (self._client.call(access_calls.list_accounts(parent))).items

    def new(self, name: str) -> Account:
        """`name` is the full name; what comes before the last dot has to be there already."""
        return self._client.call(access_calls.create_account({"name": name}))

    def get(self, ref: str) -> Account:
        return self._client.call(access_calls.get_account(ref))

    def change(self, ref: str, changes: AccountPatch | Mapping[str, Any]) -> Account:
        return self._client.call(access_calls.change_account(ref, changes))

    def archive(self, ref: str) -> Account:
        """Hides the account and frees its name; raises `Conflict` while it is in use."""
        return self._client.call(access_calls.archive_account(ref))


class Teams(WithMembers):
    """``client.teams``."""

    subject_type = "team"
    group_type = "team"

    def list(self) -> builtins.list[Team]:
        return (self._client.call(access_calls.list_teams())).items

    def new(self, name: str) -> Team:
        """Creates a team and its dedicated account."""
        return self._client.call(access_calls.create_team({"name": name}))

    def get(self, ref: str) -> Team:
        return self._client.call(access_calls.get_team(ref))

    def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Team:
        return self._client.call(access_calls.change_team(ref, changes))

    def archive(self, ref: str) -> Team:
        return self._client.call(access_calls.archive_team(ref))


class Roles(WithMembers):
    """``client.roles``."""

    subject_type = "role"
    group_type = "role"

    def list(
        self, owner_type: OwnerType | None = None, owner: str | None = None, *, account: str | None = None
    ) -> builtins.list[Role]:
        """The roles of an organization, team or account; without one all that the caller may see."""
        return (self._client.call(access_calls.list_roles(owner_type, owner, account=account))).items

    def new(
        self, name: str, *, owner_type: OwnerType | None = None, policies: builtins.list[str] | None = None
    ) -> Role:
        """`name` is the full name; `policies` are attached at once, all or none."""
        body = {"name": name, "ownerType": owner_type, "policies": policies or []}
        return self._client.call(access_calls.create_role(body))

    def get(self, ref: str, owner: OwnerType | None = None) -> Role:
        """`owner` says which role is meant where a full name fits an account and a team."""
        return self._client.call(access_calls.get_role(ref, owner))

    def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Role:
        return self._client.call(access_calls.change_role(ref, changes))

    def archive(self, ref: str) -> Role:
        return self._client.call(access_calls.archive_role(ref))

    def keys(self, ref: str) -> builtins.list[RoleKey]:
        return (self._client.call(access_calls.list_keys(ref))).items

    def new_key(self, ref: str, *, name: str = "", expires: datetime | None = None) -> RoleKeySecret:
        """The answer is the only place where the key's token is ever shown."""
        return self._client.call(access_calls.create_key(ref, {"name": name, "expires": _time(expires)}))

    def revoke_key(self, ref: str, key_id: str) -> RoleKey:
        return self._client.call(access_calls.revoke_key(ref, key_id))


class Users(WithPolicies):
    """``client.users``."""

    subject_type = "user"

    def list(self) -> builtins.list[User]:
        return (self._client.call(calls.list_users())).items

    def new(self, user: NewUser | Mapping[str, Any]) -> User:
        """Creates a user; only an administrator may."""
        return self._client.call(calls.create_user(user))

    def get(self, ref: str) -> User:
        return self._client.call(access_calls.get_user(ref))

    def change(self, ref: str, changes: UserPatch | Mapping[str, Any]) -> User:
        return self._client.call(access_calls.change_user(ref, changes))

    def archive(self, ref: str) -> User:
        """For good; the name is free afterwards."""
        return self._client.call(access_calls.archive_user(ref))

    def disable(self, ref: str) -> User:
        """No log-in and no token any more, until `enable`."""
        return self._client.call(access_calls.disable_user(ref))

    def enable(self, ref: str) -> User:
        return self._client.call(access_calls.enable_user(ref))

    def offboard(self, ref: str, *, to: str) -> User:
        """Archives the user; `to` gets the home account with its jobs and data."""
        return self._client.call(access_calls.offboard_user(ref, {"to": to}))


class Rules(Group):
    """``client.rules``: a rule is ``action@urn``."""

    def list(self, user: str | None = None) -> builtins.list[HeldRule]:
        """What the caller holds, or another user, whom the caller may attach policies to."""
        return (self._client.call(access_calls.list_rules(user))).items

    def allowed(self, rule: str) -> bool:
        """Whether the caller may do it."""
        return (self._client.call(access_calls.is_allowed(rule))).allowed

    def who_is_allowed(self, rule: str) -> builtins.list[WhoIsAllowed]:
        """All users, and roles with living keys, that may do it."""
        return (self._client.call(access_calls.who_is_allowed(rule))).items

    def why(self, rule: str, user: str | None = None) -> RuleAnswer:
        """Why the caller, or another user, may or may not do it."""
        return self._client.call(access_calls.explain_rule(rule, user))


class Locks(Group):
    """``client.locks``: while one is there, every decision about the user, role, key or job is no."""

    def list(self) -> builtins.list[Lock]:
        return (self._client.call(access_calls.list_locks())).items

    def new(self, type_: LockType, ref: str, why: str = "") -> Lock:
        return self._client.call(access_calls.lock({"type": type_, "ref": ref, "why": why}))

    def remove(self, type_: LockType, ref: str) -> Lock:
        return self._client.call(access_calls.unlock(type_, ref))


class Audit(Group):
    """``client.audit``."""

    def list(self, *, limit: int | None = None, **filters: Any) -> builtins.list[AuditRecord]:
        """Entries of the audit log, newest first, at most `limit`; `filters` are those of `access_calls.list_audit`."""
        records: builtins.list[AuditRecord] = []
        cursor: str | None = None
        while limit is None or len(records) < limit:
            wanted = access_calls.list_audit(limit=access_calls.AUDIT_PAGE_SIZE, cursor=cursor, **filters)
            page = self._client.call(wanted)
            records += page.items
            cursor = page.next
            if cursor is None:
                break
        return records[:limit]


class DataSets(Group):
    """``client.data``."""

    def list(self, account: str | None = None) -> builtins.list[Data]:
        """All that the caller may see, or those of one account."""
        return (self._client.call(access_calls.list_data(account))).items

    def new(self, name: str, *, account: str | None = None) -> Data:
        """`name` is a full name, or a bare one in `account`, which is the caller's home account if absent."""
        body = {"name": name} if account is None else {"name": name, "account": account}
        return self._client.call(access_calls.create_data(body))

    def get(self, ref: str) -> Data:
        return self._client.call(access_calls.get_data(ref))

    def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Data:
        return self._client.call(access_calls.change_data(ref, changes))

    def archive(self, ref: str) -> Data:
        return self._client.call(access_calls.archive_data(ref))

    def commit(self, ref: str, message: str = "", *, allow_empty: bool = False) -> Commit:
        """Keeps what the data holds now as its next version, and waits until that is done. A commit of what has not changed
        since the last version makes none, unless `allow_empty`."""
        wanted = data_calls.commit_data(ref, {"message": message, "allowEmpty": allow_empty})
        while True:
            made = self._client.call(wanted)
            if made.state != "running":
                return made

    def versions(self, ref: str) -> builtins.list[DataVersion]:
        """The newest first."""
        found: builtins.list[DataVersion] = []
        cursor: str | None = None
        while True:
            page = self._client.call(data_calls.list_versions(ref, cursor=cursor))
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    def version(self, ref: str, version: int | str = "latest") -> DataVersion:
        return self._client.call(data_calls.get_version(ref, version))

    def size(self, ref: str, *, measure: bool = False) -> DataSize:
        """What it takes with all versions, as of the last look at it; `measure`: looks now, and waits for that."""
        known = self._client.call(data_calls.get_size(ref))
        seen = known.as_of
        while measure and known.as_of == seen:
            known = self._client.call(data_calls.get_size(ref, measure=True))
        return known


class Quotas(Group):
    """``client.quotas``: what accounts take and may take, and what the jobs of users and of the organization may hold."""

    def list(self) -> builtins.list[Quota]:
        return (self._client.call(data_calls.list_quotas())).items

    def get(self, account: str) -> Quota:
        return self._client.call(data_calls.get_quota(account))

    def set(self, account: str, limits: QuotaPatch | Mapping[str, Any]) -> Quota:
        """`limits` has the JSON keys ``dataLimit`` (bytes), ``filesLimit`` and ``room``; null takes a limit away."""
        return self._client.call(data_calls.set_quota(account, limits))

    def get_of(self, holder: data_calls.RoomHolder, ref: str) -> Quota:
        """Of the user or the organization that `ref` names."""
        return self._client.call(data_calls.get_room_quota(holder, ref))

    def set_of(self, holder: data_calls.RoomHolder, ref: str, limits: RoomQuotaPatch | Mapping[str, Any]) -> Quota:
        """`limits` has the JSON key ``room``; null in it takes a limit away."""
        return self._client.call(data_calls.set_room_quota(holder, ref, limits))


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
