"""``… policy new|ls|rm``: the statements that a user, a team or a role holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import click

from toolkit_client import access_calls
from toolkit_client.cli import values
from toolkit_client.cli.complete import complete_roles, complete_teams, complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.role_owner import owner_option
from toolkit_client.cli.state import State

__all__ = ["policies_of"]

COLUMNS = ("id", "policy", "expires")
COMPLETERS = {"role": complete_roles, "team": complete_teams, "user": complete_users}

LIST_NEEDS = {
    "role": "\n\nNeeds role:get on the role.",
    "team": "\n\nNeeds team:get.",
    "user": " Without USER: to yourself. `toolkit rule ls` lists all that a user holds, by whatever way.\n\n"
    "Needs user:policy on the user; for yourself nothing.",
}


@dataclass(frozen=True)
class Holder:
    """What holds policies, with one as an example."""

    kind: Literal["user", "team", "role"]
    example: str

    def argument(self, *, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
            if self.kind == "role":
                command = owner_option(command)
            name = self.kind.upper()
            return click.argument("ref", metavar=name, required=required, shell_complete=COMPLETERS[self.kind])(command)

        return decorate

    def ref(self, state: State, given: str | None) -> str:
        """Without a user the caller is meant."""
        if given is None:
            return str(state.me()["id"])
        return state.full_ref(given) if self.kind == "role" else given

    def list(self, state: State, ref: str) -> list[Any]:
        found: list[Any] = state.client().raw(access_calls.list_policies(self.kind, ref, state.role_owner))["items"]
        return found


def policies_of(kind: Literal["user", "team", "role"], example: str) -> LazyGroup:
    """The group ``policy`` below a noun."""
    holder = Holder(kind, example)
    return LazyGroup(
        "policy",
        commands_by_name={
            "ls": (_ls(holder), f"List the policies of a {kind}."),
            "new": (_new(holder), f"Attach a policy to a {kind}."),
            "rm": (_rm(holder), f"Remove policies from a {kind}."),
        },
        help=f"List the policies of a {kind}, attach some, remove some.",
        epilog=examples(
            f"toolkit {kind} policy new {example} 'data:get@acme:account:acme.joe:data:images'",
            f"toolkit {kind} policy ls {example}",
        ),
    )


def _ls(holder: Holder) -> click.Command:
    @click.command(
        "ls",
        help=f"List the policies that are attached to a {holder.kind}. `--fields id,named` shows names in the place of ids."
        + LIST_NEEDS[holder.kind],
        epilog=examples(
            f"toolkit {holder.kind} policy ls {holder.example}",
            f"toolkit {holder.kind} policy ls {holder.example} --fields id,named,expires",
        ),
    )
    @holder.argument(required=holder.kind != "user")
    @output_options(COLUMNS)
    @click.pass_obj
    def ls(state: State, ref: str | None, output: Output) -> None:
        output.show(holder.list(state, holder.ref(state, ref)))

    return ls


def _new(holder: Holder) -> click.Command:
    @click.command(
        "new",
        help=f"""Attach the policy STATEMENT to a {holder.kind}: `action[+action…]@urn[+urn…]`.

An action is `type:verb`, `type:*`, `*:verb` or `*`. A `*` in a URN is one segment, at its end one or more: `…:account:ID:*`
is everything in the account, and not the account itself. Put the statement in quotes, for the shell's sake. Names in URNs are
replaced by ids, so a rename changes nothing.

Needs {holder.kind}:policy on the {holder.kind}, and every right that the statement gives, or role:escalate on the organization.
""",
        epilog=examples(
            f'toolkit {holder.kind} policy new {holder.example} "data:*@$(toolkit data get images --field urn)"',
            f"toolkit {holder.kind} policy new {holder.example} 'job:get+job:set@acme:account:acme.joe:job:*' --expires 7d",
        ),
    )
    @holder.argument()
    @click.argument("statement")
    @values.expires_option()
    @output_options(COLUMNS)
    @click.pass_obj
    def new(state: State, ref: str, statement: str, expires: dict[str, Any], output: Output) -> None:
        policy = {"policy": statement, **expires}
        wanted = holder.ref(state, ref)
        output.show([state.client().raw(access_calls.add_policy(holder.kind, wanted, policy, state.role_owner))])

    return new


def _rm(holder: Holder) -> click.Command:
    @click.command(
        "rm",
        help=f"Remove policies, by the ids that `policy ls` shows, and print those that are left.\n\nNeeds {holder.kind}:policy "
        f"on the {holder.kind}.",
        epilog=examples(f"toolkit {holder.kind} policy rm {holder.example} 6bff8b31-70b8-4c23-8f0b-2b9c4bd4b3b9"),
    )
    @holder.argument()
    @click.argument("ids", metavar="POLICY…", nargs=-1, required=True)
    @output_options(COLUMNS)
    @click.pass_obj
    def rm(state: State, ref: str, ids: tuple[str, ...], output: Output) -> int:
        client, wanted = state.client(), holder.ref(state, ref)
        removed, code = for_each(
            dict.fromkeys(ids),
            lambda one: client.raw(access_calls.remove_policy(holder.kind, wanted, one, state.role_owner)),
        )
        if removed:
            output.show(holder.list(state, wanted))
        return code

    return rm
