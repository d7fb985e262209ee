"""``toolkit data share`` and ``unshare``: a role with one policy on the data, and its members."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import click

from toolkit_client import access_calls
from toolkit_client.call import Call
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_data
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.members import Who, chosen_members, member_options
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import Conflict, NotFound

__all__ = ["share", "unshare"]

COLUMNS = ("role", "id", "name", "type", "expires")
ACTIONS = {"ro": ("data:get",), "rw": ("data:get", "data:set")}
#: Characters of a role's name that are the data's.
NAME_ROOM = 48


@click.command(
    epilog=examples(
        "toolkit data share images --user acme.bob",
        "toolkit data share images --user bob --team cocos --rw --expires 30d",
    )
)
@click.argument("name", shell_complete=complete_data)
@member_options
@click.option("--ro", "mode", flag_value="ro", default=True, help="To read it (the default).")
@click.option("--rw", "mode", flag_value="rw", help="To read and change it.")
@values.expires_option(" `never` takes an end away.")
@output_options(COLUMNS)
@click.pass_obj
def share(
    state: State,
    name: str,
    *,
    users: tuple[str, ...],
    teams: tuple[str, ...],
    mode: str,
    expires: dict[str, Any],
    output: Output,
) -> int:
    """Let users and teams read the data NAME, or change it, and print whom it is shared with then.

    Three steps do it, and are printed on stderr as the commands that they are: a role `share_NAME_ro` or `share_NAME_rw` in the
    data's account, a policy of it on this data alone, and its members. Sharing again does no more than is missing; a new
    --expires replaces the one before. `data unshare` ends it.

    Needs role:new on the account, role:policy and role:member on the role, and the rights that are given.
    """
    chosen = dict.fromkeys(chosen_members(users, teams))
    sharing = _Sharing(state, name, mode)
    role = sharing.role()

    def add(who: Who) -> Any:
        until = ["--expires", expires["expires"] or "never"] if expires else []
        _say("role", "member", "add", role, f"--{who.kind}", who.ref, *until)
        return sharing.ask(access_calls.add_member("role", role, {who.kind: who.ref, **expires}, "account"))

    added, code = for_each(chosen, add)
    if mode == "ro":
        _tell_who_may_write(sharing, {str(member["id"]) for member in added})
    output.show(sharing.members(role))
    return code


@click.command(epilog=examples("toolkit data unshare images --user acme.bob"))
@click.argument("name", shell_complete=complete_data)
@member_options
@output_options(COLUMNS)
@click.pass_obj
def unshare(state: State, name: str, *, users: tuple[str, ...], teams: tuple[str, ...], output: Output) -> int:
    """End what `data share` gave to users and teams, to read and to change the data NAME, and print whom it is shared with still.

    What they hold otherwise, as by other roles, they keep: `toolkit rule who-is-allowed` shows it.

    Needs role:member on the role.
    """
    chosen = dict.fromkeys(chosen_members(users, teams))
    roles = {mode: _Sharing(state, name, mode) for mode in ACTIONS}
    found = {mode: role for mode, sharing in roles.items() if (role := sharing.known_role()) is not None}

    def remove(who: Who) -> None:
        gone = 0
        for mode, role in found.items():
            try:
                roles[mode].ask(access_calls.remove_member("role", role, who.kind, who.ref, "account"))
            except NotFound:
                continue
            _say("role", "member", "rm", role, f"--{who.kind}", who.ref)
            gone += 1
        if not gone:
            raise NotFound(f"{name} is not shared with the {who.kind} {who.ref} by `data share`", "")

    _, code = for_each(chosen, remove)
    output.show([member for mode, role in found.items() for member in roles[mode].members(role)])
    return code


class _Sharing:
    """The role through which one data is shared in one mode."""

    def __init__(self, state: State, name: str, mode: str) -> None:
        self._state, self._client = state, state.client()
        data = self._client.raw(access_calls.get_data(state.full_ref(name)))
        self._id, self._urn, self._account = str(data["id"]), str(data["urn"]), str(data["account"])
        self._actions = ACTIONS[mode]
        shown = str(data["name"])[:NAME_ROOM]
        # Names of roles have no dots.
        base = f"share_{f'dot_{shown[1:]}' if shown.startswith('.') else shown}_{mode}"
        self._names = (base, f"{base}_{self._id[:8]}")

    def ask(self, call: Call[Any]) -> Any:
        return self._client.raw(call)

    def role(self) -> str:
        """The full name of the role, which has its policy now.

        A role of that name that gives anything else is left alone: its members would get this data, or the new ones its rights.
        """
        for full_name in self._full_names():
            policies = self._policies(full_name)
            if policies is None:
                _say("role", "new", full_name)
                self.ask(access_calls.create_role({"name": full_name}))
            elif self._is_ours(policies):
                return full_name
            elif policies or self.members(full_name):
                continue
            statement = f"{'+'.join(self._actions)}@{self._urn}"
            _say("role", "policy", "new", full_name, statement)
            self.ask(access_calls.add_policy("role", full_name, {"policy": statement}, "account"))
            return full_name
        raise Conflict(
            f"the roles {' and '.join(self._full_names())} are there already, and give other rights",
            "archive or rename one, or share by hand: `toolkit role new`, `role policy new`, `role member add`",
        )

    def known_role(self) -> str | None:
        """The role, if it is there."""
        return next((name for name in self._full_names() if self._is_ours(self._policies(name) or [])), None)

    def members(self, role: str) -> list[dict[str, Any]]:
        found = self.ask(access_calls.list_members("role", role, "account"))["items"]
        return [{"role": role, **member} for member in found if not member["inherited"]]

    def for_writing(self) -> _Sharing:
        return _Sharing(self._state, self._id, "rw")

    def _full_names(self) -> list[str]:
        return [f"{self._account}.{name}" for name in self._names]

    def _policies(self, role: str) -> list[dict[str, Any]] | None:
        """None: there is no such role."""
        try:
            found: list[dict[str, Any]] = self.ask(access_calls.list_policies("role", role, "account"))["items"]
        except NotFound:
            return None
        return found

    def _is_ours(self, policies: list[dict[str, Any]]) -> bool:
        if len(policies) != 1 or policies[0]["expires"] is not None:
            return False
        actions, _, urn = str(policies[0]["policy"]).partition("@")
        return urn == self._urn and sorted(actions.split("+")) == sorted(self._actions)


def _tell_who_may_write(sharing: _Sharing, ids: set[str]) -> None:
    """Sharing to read takes no right to write away."""
    writing = sharing.for_writing()
    role = writing.known_role()
    if role is None:
        return
    for member in writing.members(role):
        if str(member["id"]) in ids:
            who = f"--{member['type']} {escape(member['fullName'])}"
            print(f"note: {escape(member['fullName'])} may still change it: role {role}", file=sys.stderr)
            print(f"hint: `toolkit role member rm {role} {who}` ends that", file=sys.stderr)


def _say(*words: str) -> None:
    """The command that does the same."""
    print(escape(shlex.join(["toolkit", *words])), file=sys.stderr)
