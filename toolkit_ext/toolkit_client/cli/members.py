"""``… member ls|add|rm``: who belongs to a role or a team. Adding and removing print who belongs to it then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import click

from toolkit_client import access_calls
from toolkit_client.call import Call
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_roles, complete_teams, complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.role_owner import owner_option
from toolkit_client.cli.state import State

__all__ = ["Who", "chosen_members", "member_options", "members_of"]

COLUMNS = ("id", "name", "type")
OwnerType = Literal["organization", "team", "account"]


class Who(NamedTuple):
    """A member as the command line names it."""

    kind: Literal["user", "team"]
    ref: str


@dataclass(frozen=True)
class Group:
    """What has members: a role, of any owner or of one type of owner, or a team."""

    kind: Literal["role", "team"]
    owner: OwnerType | None
    #: What is typed before ``member``, and a group as an example.
    path: str
    example: str

    def ref(self, state: State, given: str) -> str:
        in_account = self.kind == "role" and self.owner in (None, "account")
        return state.full_ref(given) if in_account else given

    def show(self, state: State, ref: str, output: Output) -> None:
        output.show(state.client().raw(access_calls.list_members(self.kind, ref, self.owner_in(state)))["items"])

    def owner_in(self, state: State) -> OwnerType | None:
        return self.owner or state.role_owner

    def argument(self, command: Callable[..., Any]) -> Callable[..., Any]:
        complete = complete_roles if self.kind == "role" else complete_teams
        if self.kind == "role" and self.owner is None:
            command = owner_option(command)
        return click.argument("ref", metavar=self.kind.upper(), shell_complete=complete)(command)


def members_of(kind: Literal["role", "team"], path: str, example: str, owner: OwnerType | None = None) -> LazyGroup:
    """The group ``member`` below `path`; `owner` says which roles are meant where a name fits several."""
    group = Group(kind, owner, path, example)
    return LazyGroup(
        "member",
        commands_by_name={
            "add": (_add(group), f"Add members to a {kind}."),
            "ls": (_ls(group), f"List the members of a {kind}."),
            "rm": (_rm(group), f"Remove members from a {kind}."),
        },
        help=f"List the members of a {kind}, add some, remove some.",
        epilog=examples(
            f"toolkit {path} member ls {example}", f"toolkit {path} member add {example} --user acme.alice"
        ),
    )


def _ls(group: Group) -> click.Command:
    readers = (
        "Needs role:get on the role, or the `get` of what it belongs to." if group.kind == "role" else "Needs team:get."
    )

    @click.command(
        "ls",
        help=f"List the members of a {group.kind}. `--fields name,type,inherited,expires` shows which follow from the "
        f"tree of accounts and which end.\n\n{readers}",
        epilog=examples(
            f"toolkit {group.path} member ls {group.example}",
            f"toolkit {group.path} member ls {group.example} --fields name,type",
        ),
    )
    @group.argument
    @output_options(COLUMNS)
    @click.pass_obj
    def ls(state: State, ref: str, output: Output) -> None:
        group.show(state, group.ref(state, ref), output)

    return ls


def member_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --user and --team; `chosen_members` says whom they mean."""
    users = click.option(
        "--user",
        "users",
        metavar="U",
        multiple=True,
        shell_complete=complete_users,
        help="A user, by ID or name (acme.alice); repeatable.",
    )
    teams = click.option(
        "--team",
        "teams",
        metavar="T",
        multiple=True,
        shell_complete=complete_teams,
        help="A team, by ID or name (acme.cocos); repeatable.",
    )
    return users(teams(command))


def chosen_members(users: tuple[str, ...], teams: tuple[str, ...]) -> list[Who]:
    """Raises click.UsageError if there is nobody."""
    if not users and not teams:
        raise click.UsageError("who? Give --user or --team")
    return [*(Who("user", user) for user in users), *(Who("team", team) for team in teams)]


def _add(group: Group) -> click.Command:
    @click.command(
        "add",
        help=f"Add users and teams to a {group.kind}, and print its members. With --expires they belong to it until then; "
        "for who belongs to it already, that sets a new end.\n\n"
        f"Needs {group.kind}:member on the {group.kind}, and every right that the {group.kind} gives, or role:bind on the "
        "organization.",
        epilog=examples(
            f"toolkit {group.path} member add {group.example} --user acme.alice --team acme.cocos",
            f"toolkit {group.path} member add {group.example} --user acme.bob --expires 30d",
        ),
    )
    @group.argument
    @member_options
    @values.expires_option(" `never` takes an end away.")
    @output_options(COLUMNS)
    @click.pass_obj
    def add(
        state: State,
        ref: str,
        *,
        users: tuple[str, ...],
        teams: tuple[str, ...],
        expires: dict[str, Any],
        output: Output,
    ) -> int:
        def call(wanted: str, who: Who) -> Call[Any]:
            return access_calls.add_member(group.kind, wanted, {who.kind: who.ref, **expires}, group.owner_in(state))

        return _change(group, state, ref, chosen_members(users, teams), call, output)

    return add


def _rm(group: Group) -> click.Command:
    @click.command(
        "rm",
        help=f"Remove users and teams from a {group.kind}, and print who is left. What is open by this right alone is cut. "
        f"The last administrator stays.\n\nNeeds {group.kind}:member on the {group.kind}.",
        epilog=examples(f"toolkit {group.path} member rm {group.example} --user acme.alice"),
    )
    @group.argument
    @member_options
    @output_options(COLUMNS)
    @click.pass_obj
    def rm(state: State, ref: str, *, users: tuple[str, ...], teams: tuple[str, ...], output: Output) -> int:
        def call(wanted: str, who: Who) -> Call[Any]:
            return access_calls.remove_member(group.kind, wanted, who.kind, who.ref, group.owner_in(state))

        return _change(group, state, ref, chosen_members(users, teams), call, output)

    return rm


def _change(
    group: Group, state: State, ref: str, chosen: list[Who], call: Callable[[str, Who], Call[Any]], output: Output
) -> int:
    """The same change for each; one that fails does not stop the others, and the members are printed if any was made."""
    wanted, client = group.ref(state, ref), state.client()
    done, code = for_each(dict.fromkeys(chosen), lambda who: client.raw(call(wanted, who)))
    if done:
        group.show(state, wanted, output)
    return code
