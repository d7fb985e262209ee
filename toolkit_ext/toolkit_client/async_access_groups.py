"""The parts of `AsyncClient` that are about access; the methods are those of `toolkit_client.access_groups`."""

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
    from toolkit_client.async_client import AsyncClient
    from toolkit_client.data_models import Commit, DataSize, DataVersion, Quota, QuotaPatch, RoomQuotaPatch
    from toolkit_client.models import NewUser, User

__all__ = [
    "AsyncAccounts",
    "AsyncAudit",
    "AsyncDataSets",
    "AsyncLocks",
    "AsyncOrganizations",
    "AsyncQuotas",
    "AsyncRoles",
    "AsyncRules",
    "AsyncTeams",
    "AsyncUsers",
]


class AsyncGroup:
    """What all groups share."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client


class AsyncWithPolicies(AsyncGroup):
    """Users, teams and roles: whoever holds policies."""

    subject_type: ClassVar[SubjectType]

    async def policies(self, ref: str) -> builtins.list[Policy]:
        return (await self._client.call(access_calls.list_policies(self.subject_type, ref))).items

    async def add_policy(self, ref: str, policy: str, *, expires: datetime | None = None) -> Policy:
        body = {"policy": policy, "expires": _time(expires)}
        return await self._client.call(access_calls.add_policy(self.subject_type, ref, body))

    async def remove_policy(self, ref: str, policy_id: str) -> Policy:
        return await self._client.call(access_calls.remove_policy(self.subject_type, ref, policy_id))


class AsyncWithMembers(AsyncWithPolicies):
    """Teams and roles."""

    group_type: ClassVar[GroupType]

    async def members(self, ref: str) -> builtins.list[Member]:
        return (await self._client.call(access_calls.list_members(self.group_type, ref))).items

    async def add_member(
        self, ref: str, *, user: str | None = None, team: str | None = None, expires: datetime | None = None
    ) -> Member:
        body = {"user": user, "team": team, "expires": _time(expires)}
        given = {key: value for key, value in body.items() if value is not None}
        return await self._client.call(access_calls.add_member(self.group_type, ref, given))

    async def remove_user(self, ref: str, user: str) -> Member:
        return await self._client.call(access_calls.remove_member(self.group_type, ref, "user", user))

    async def remove_team(self, ref: str, team: str) -> Member:
        return await self._client.call(access_calls.remove_member(self.group_type, ref, "team", team))


class AsyncOrganizations(AsyncGroup):
    """``client.organizations``."""

    async def get(self, ref: str) -> Organization:
        return await self._client.call(access_calls.get_organization(ref))

    async def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Organization:
        return await self._client.call(access_calls.change_organization(ref, changes))


class AsyncAccounts(AsyncGroup):
    """``client.accounts``."""

    async def list(self, parent: str | None = None) -> builtins.list[Account]:
        return (await self._client.call(access_calls.list_accounts(parent))).items

    async def new(self, name: str) -> Account:
        return await self._client.call(access_calls.create_account({"name": name}))

    async def get(self, ref: str) -> Account:
        return await self._client.call(access_calls.get_account(ref))

    async def change(self, ref: str, changes: AccountPatch | Mapping[str, Any]) -> Account:
        return await self._client.call(access_calls.change_account(ref, changes))

    async def archive(self, ref: str) -> Account:
        return await self._client.call(access_calls.archive_account(ref))


class AsyncTeams(AsyncWithMembers):
    """``client.teams``."""

    subject_type = "team"
    group_type = "team"

    async def list(self) -> builtins.list[Team]:
        return (await self._client.call(access_calls.list_teams())).items

    async def new(self, name: str) -> Team:
        return await self._client.call(access_calls.create_team({"name": name}))

    async def get(self, ref: str) -> Team:
        return await self._client.call(access_calls.get_team(ref))

    async def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Team:
        return await self._client.call(access_calls.change_team(ref, changes))

    async def archive(self, ref: str) -> Team:
        return await self._client.call(access_calls.archive_team(ref))


class AsyncRoles(AsyncWithMembers):
    """``client.roles``."""

    subject_type = "role"
    group_type = "role"

    async def list(
        self, owner_type: OwnerType | None = None, owner: str | None = None, *, account: str | None = None
    ) -> builtins.list[Role]:
        return (await self._client.call(access_calls.list_roles(owner_type, owner, account=account))).items

    async def new(
        self, name: str, *, owner_type: OwnerType | None = None, policies: builtins.list[str] | None = None
    ) -> Role:
        body = {"name": name, "ownerType": owner_type, "policies": policies or []}
        return await self._client.call(access_calls.create_role(body))

    async def get(self, ref: str, owner: OwnerType | None = None) -> Role:
        return await self._client.call(access_calls.get_role(ref, owner))

    async def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Role:
        return await self._client.call(access_calls.change_role(ref, changes))

    async def archive(self, ref: str) -> Role:
        return await self._client.call(access_calls.archive_role(ref))

    async def keys(self, ref: str) -> builtins.list[RoleKey]:
        return (await self._client.call(access_calls.list_keys(ref))).items

    async def new_key(self, ref: str, *, name: str = "", expires: datetime | None = None) -> RoleKeySecret:
        return await self._client.call(access_calls.create_key(ref, {"name": name, "expires": _time(expires)}))

    async def revoke_key(self, ref: str, key_id: str) -> RoleKey:
        return await self._client.call(access_calls.revoke_key(ref, key_id))


class AsyncUsers(AsyncWithPolicies):
    """``client.users``."""

    subject_type = "user"

    async def list(self) -> builtins.list[User]:
        return (await self._client.call(calls.list_users())).items

    async def new(self, user: NewUser | Mapping[str, Any]) -> User:
        return await self._client.call(calls.create_user(user))

    async def get(self, ref: str) -> User:
        return await self._client.call(access_calls.get_user(ref))

    async def change(self, ref: str, changes: UserPatch | Mapping[str, Any]) -> User:
        return await self._client.call(access_calls.change_user(ref, changes))

    async def archive(self, ref: str) -> User:
        return await self._client.call(access_calls.archive_user(ref))

    async def disable(self, ref: str) -> User:
        return await self._client.call(access_calls.disable_user(ref))

    async def enable(self, ref: str) -> User:
        return await self._client.call(access_calls.enable_user(ref))

    async def offboard(self, ref: str, *, to: str) -> User:
        return await self._client.call(access_calls.offboard_user(ref, {"to": to}))


class AsyncRules(AsyncGroup):
    """``client.rules``: a rule is ``action@urn``."""

    async def list(self, user: str | None = None) -> builtins.list[HeldRule]:
        return (await self._client.call(access_calls.list_rules(user))).items

    async def allowed(self, rule: str) -> bool:
        return (await self._client.call(access_calls.is_allowed(rule))).allowed

    async def who_is_allowed(self, rule: str) -> builtins.list[WhoIsAllowed]:
        return (await self._client.call(access_calls.who_is_allowed(rule))).items

    async def why(self, rule: str, user: str | None = None) -> RuleAnswer:
        return await self._client.call(access_calls.explain_rule(rule, user))


class AsyncLocks(AsyncGroup):
    """``client.locks``: while one is there, every decision about the user, role, key or job is no."""

    async def list(self) -> builtins.list[Lock]:
        return (await self._client.call(access_calls.list_locks())).items

    async def new(self, type_: LockType, ref: str, why: str = "") -> Lock:
        return await self._client.call(access_calls.lock({"type": type_, "ref": ref, "why": why}))

    async def remove(self, type_: LockType, ref: str) -> Lock:
        return await self._client.call(access_calls.unlock(type_, ref))


class AsyncAudit(AsyncGroup):
    """``client.audit``."""

    async def list(self, *, limit: int | None = None, **filters: Any) -> builtins.list[AuditRecord]:
        records: builtins.list[AuditRecord] = []
        cursor: str | None = None
        while limit is None or len(records) < limit:
            wanted = access_calls.list_audit(limit=access_calls.AUDIT_PAGE_SIZE, cursor=cursor, **filters)
            page = await self._client.call(wanted)
            records += page.items
            cursor = page.next
            if cursor is None:
                break
        return records[:limit]


class AsyncDataSets(AsyncGroup):
    """``client.data``."""

    async def list(self, account: str | None = None) -> builtins.list[Data]:
        return (await self._client.call(access_calls.list_data(account))).items

    async def new(self, name: str, *, account: str | None = None) -> Data:
        body = {"name": name} if account is None else {"name": name, "account": account}
        return await self._client.call(access_calls.create_data(body))

    async def get(self, ref: str) -> Data:
        return await self._client.call(access_calls.get_data(ref))

    async def change(self, ref: str, changes: RenamePatch | Mapping[str, Any]) -> Data:
        return await self._client.call(access_calls.change_data(ref, changes))

    async def archive(self, ref: str) -> Data:
        return await self._client.call(access_calls.archive_data(ref))

    async def commit(self, ref: str, message: str = "", *, allow_empty: bool = False) -> Commit:
        """Keeps what the data holds now as its next version, and waits until that is done. A commit of what has not changed
        since the last version makes none, unless `allow_empty`."""
        wanted = data_calls.commit_data(ref, {"message": message, "allowEmpty": allow_empty})
        while True:
            made = await self._client.call(wanted)
            if made.state != "running":
                return made

    async def versions(self, ref: str) -> builtins.list[DataVersion]:
        """The newest first."""
        found: builtins.list[DataVersion] = []
        cursor: str | None = None
        while True:
            page = await self._client.call(data_calls.list_versions(ref, cursor=cursor))
            found += page.items
            cursor = page.next
            if cursor is None:
                return found

    async def version(self, ref: str, version: int | str = "latest") -> DataVersion:
        return await self._client.call(data_calls.get_version(ref, version))

    async def size(self, ref: str, *, measure: bool = False) -> DataSize:
        """What it takes with all versions, as of the last look at it; `measure`: looks now, and waits for that."""
        known = await self._client.call(data_calls.get_size(ref))
        seen = known.as_of
        while measure and known.as_of == seen:
            known = await self._client.call(data_calls.get_size(ref, measure=True))
        return known


class AsyncQuotas(AsyncGroup):
    """``client.quotas``: what accounts take and may take, and what the jobs of users and of the organization may hold."""

    async def list(self) -> builtins.list[Quota]:
        return (await self._client.call(data_calls.list_quotas())).items

    async def get(self, account: str) -> Quota:
        return await self._client.call(data_calls.get_quota(account))

    async def set(self, account: str, limits: QuotaPatch | Mapping[str, Any]) -> Quota:
        """`limits` has the JSON keys ``dataLimit`` (bytes), ``filesLimit`` and ``room``; null takes a limit away."""
        return await self._client.call(data_calls.set_quota(account, limits))

    async def get_of(self, holder: data_calls.RoomHolder, ref: str) -> Quota:
        """Of the user or the organization that `ref` names."""
        return await self._client.call(data_calls.get_room_quota(holder, ref))

    async def set_of(
        self, holder: data_calls.RoomHolder, ref: str, limits: RoomQuotaPatch | Mapping[str, Any]
    ) -> Quota:
        """`limits` has the JSON key ``room``; null in it takes a limit away."""
        return await self._client.call(data_calls.set_room_quota(holder, ref, limits))


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
