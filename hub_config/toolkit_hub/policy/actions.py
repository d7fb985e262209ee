"""Every action that the toolkit knows, declared once: routes, documentation, OpenAPI, CLI help and tests read it here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACTIONS", "RESOURCE_TYPES", "Action"]


@dataclass(frozen=True)
class Action:
    """Something that can be done to a resource. `verb` `get` is what makes a resource visible at all.

    `on` is the type of the resource whose URN is asked about: that of the thing itself, or for `new` of what it is made in
    (several types where there are several places). `carried`: the token of a job that carries its creator's rights has this
    one too; whatever gives rights on, takes them away or tells of others' acts it has not.
    """

    name: str
    opens: str
    dangerous: bool = False
    on: tuple[str, ...] = ()
    carried: bool = False

    @property
    def resource(self) -> str:
        return self.name.partition(":")[0]

    @property
    def verb(self) -> str:
        return self.name.partition(":")[2]

    @property
    def asked_of(self) -> tuple[str, ...]:
        return self.on or (self.resource,)


RESOURCE_TYPES = ("organization", "user", "team", "account", "role", "job", "data")

_IN_ACCOUNT = ("account",)
_IN_ORGANIZATION = ("organization",)
ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        Action("organization:get", "see the organization, its capacity and its queue", carried=True),
        Action("organization:set", "rename the organization"),
        Action("organization:maintain", "check the site's machine (doctor) and remove what is past its retention"),
        Action("organization:quota", "set what accounts, users and the organization may take of the site"),
        Action(
            "organization:metrics", "read the site's metrics: every running job's name, user and use of the machine"
        ),
        Action("organization:audit", "read the audit log of the whole organization", dangerous=True),
        Action("organization:lock", "lock and unlock anything in the organization", dangerous=True),
        Action("user:get", "see a user", carried=True),
        Action("user:new", "create users of the organization", dangerous=True, on=_IN_ORGANIZATION),
        Action("user:set", "rename a user"),
        Action("user:policy", "attach policies to a user and remove them", dangerous=True),
        Action("user:lock", "lock and unlock a user", dangerous=True),
        Action("user:archive", "disable, enable, offboard and archive a user", dangerous=True),
        Action("team:get", "see a team and its members", carried=True),
        Action("team:new", "create teams of the organization", on=_IN_ORGANIZATION),
        Action("team:set", "rename a team"),
        Action("team:member", "add members to a team and remove them", dangerous=True),
        Action("team:policy", "attach policies to a team and remove them", dangerous=True),
        Action("team:archive", "archive a team"),
        Action("account:get", "see an account, its roles and their members", carried=True),
        Action("account:new", "create child accounts", on=("organization", "account")),
        Action("account:set", "rename an account"),
        Action("account:audit", "read the audit log of an account and of what is in it"),
        Action("account:archive", "archive an account"),
        Action("role:get", "see a role, its members and policies", carried=True),
        Action("role:new", "create roles", on=("organization", "team", "account")),
        Action("role:set", "rename a role"),
        Action("role:member", "add members to a role and remove them", dangerous=True),
        Action("role:policy", "attach policies to a role and remove them", dangerous=True),
        Action("role:key", "make, list and revoke keys that act as the role", dangerous=True),
        Action("role:lock", "lock and unlock a role and its keys", dangerous=True),
        Action("role:archive", "archive a role"),
        Action(
            "role:bind",
            "add members, and make keys, to what holds more than one's own rights",
            dangerous=True,
            on=_IN_ORGANIZATION,
        ),
        Action("role:escalate", "grant rights that one does not hold", dangerous=True, on=_IN_ORGANIZATION),
        Action("job:new", "submit jobs in an account", on=_IN_ACCOUNT, carried=True),
        Action("job:get", "see a job's data, logs and declared ports", carried=True),
        Action("job:set", "change or kill a job", carried=True),
        Action(
            "job:exec",
            "run code as the job's owner: notebook, terminal, SSH, VS Code",
            dangerous=True,
            carried=True,
        ),
        Action("job:lock", "lock and unlock a job", dangerous=True),
        Action("data:new", "create data in an account", on=_IN_ACCOUNT, carried=True),
        Action("data:get", "see data and read its content", carried=True),
        Action("data:set", "change data and its content", carried=True),
        Action("data:archive", "archive data", carried=True),
    )
}
